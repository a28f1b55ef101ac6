#!/usr/bin/env bash
# Sets LayAlign up: distribution packages, Python wheels (LibTorch), build, links in bin/. Run it as often as you like:
# it does only what is missing. launch/README.md describes options and variables.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$@" >&2; exit 1; }

usage() {
  cat <<EOF
Usage: ./launch/setup.sh [--preset release|dev|asan-ubsan|tsan] [--tests] [--no-install]
  --preset NAME   which build: release (build/, the default), dev, asan-ubsan or tsan (out/NAME/)
  --tests         also what only tests need: tests/packages.txt, tests/requirements.txt
  --no-install    install no distribution packages; if some are missing, say which and exit with 2
EOF
}

preset=release
for_tests=no
may_install=yes
package_lists=(launch/packages.txt)
while [[ $# -gt 0 ]]; do
  case $1 in
    --preset) preset=${2:-}; shift ;;
    --preset=*) preset=${1#*=} ;;
    --tests) for_tests=yes; package_lists+=(tests/packages.txt) ;;
    --no-install) may_install=no ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
  [[ $# -gt 0 ]] && shift
done
case $preset in
  release) build_folder=build ;;
  dev | asan-ubsan | tsan) build_folder=out/$preset ;;
  *) usage >&2; exit 2 ;;
esac

# --- distribution packages -------------------------------------------------------------------------------------------

installed() { [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

compiler_finds() {
  local prefixes includes
  IFS=: read -ra prefixes <<<"${CMAKE_PREFIX_PATH:-}"
  includes=("${prefixes[@]/%//include}")
  printf '#include <%s>\n' "$1" | g++ -std=c++20 "${includes[@]/#/-I}" -x c++ -E - >/dev/null 2>&1
}

# Whether the machine has it without the package.
present() {
  case $1 in
    -) false ;;
    python3:*) python3 -c "import ${1#*:}" 2>/dev/null ;;
    */* | *.h) compiler_finds "$1" ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

missing_packages() {
  local package probe
  while read -r package probe; do
    [[ -z $package || $package == \#* ]] && continue
    installed "$package" || present "$probe" || printf '%s ' "$package"
  done < <(cat "${package_lists[@]}")
}

# Where there is no dpkg (another distribution, a cluster with modules): only the tools; CMake names missing libraries.
missing_tools() {
  local package probe
  while read -r package probe; do
    [[ -z $package || $package == \#* || $probe == - || $probe == */* || $probe == *.h ]] && continue
    present "$probe" || printf '%s ' "$probe"
  done < <(cat "${package_lists[@]}")
}

# Installs with what is known of the archive; only if that fails is the list of packages fetched anew.
apt_install() {
  local log try
  log=$(mktemp)
  try=("$@" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
  if ! "${try[@]}" install -y --no-install-recommends "${missing[@]}" </dev/null >"$log" 2>&1; then
    say "fetching the list of packages"
    if ! { "${try[@]}" update && "${try[@]}" install -y --no-install-recommends "${missing[@]}"; } </dev/null >"$log" 2>&1; then
      cat "$log" >&2
      rm -f "$log"
      fail "apt-get failed, its messages are above. Is the network reachable, and is this Debian 12 or Ubuntu 24.04?"
    fi
  fi
  rm -f "$log"
}

if command -v dpkg-query >/dev/null && command -v apt-get >/dev/null; then
  read -ra missing <<<"$(missing_packages)"
  if [[ ${#missing[@]} -gt 0 ]]; then
    as_root=()
    if [[ $EUID -ne 0 ]]; then
      # sudo may ask for a password only where somebody can type it
      if command -v sudo >/dev/null && { [[ -t 0 ]] || sudo -n true 2>/dev/null; }; then as_root=(sudo); else may_install=no; fi
    fi
    if [[ $may_install == no ]]; then
      printf '%s\n' "setup: these distribution packages are missing. Install them, then run this again:" \
        "  sudo apt-get install -y --no-install-recommends ${missing[*]}" >&2
      exit 2
    fi
    say "installing ${#missing[@]} distribution packages (a minute or two): ${missing[*]}"
    apt_install "${as_root[@]}"
  fi
  say "distribution packages: all there"
else
  read -ra missing <<<"$(missing_tools)"
  if [[ ${#missing[@]} -gt 0 ]]; then
    printf '%s\n' "setup: these tools are missing: ${missing[*]}" \
      "  Load their modules or install them; launch/packages.txt lists the packages by their Debian names." >&2
    exit 2
  fi
  say "no apt-get here: the tools are there, CMake will look for the libraries"
fi

# Two set-ups in one folder would spoil each other: the second waits, as long as a compiler of the first lives.
mkdir -p "$build_folder"
exec 9>"$build_folder/.setup-lock"
if command -v flock >/dev/null && ! flock -n 9; then
  say "another set-up is at work in $build_folder/: waiting for it"
  flock 9
fi

# --- Python wheels ---------------------------------------------------------------------------------------------------

find_python() {
  local candidate
  for candidate in ${LAYALIGN_PYTHON:+"$LAYALIGN_PYTHON"} python3 /usr/bin/python3 python3.14 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  fail "no Python 3.11 to 3.14 with venv and ensurepip was found. Install one (Debian: python3 python3-venv)" \
    "or name it: LAYALIGN_PYTHON=/path/to/python3 $0"
}

venv=$(realpath -ms "${LAYALIGN_VENV:-.venv}")
if ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
  python=$(find_python)
  say "making the virtual environment $venv"
  "$python" -m venv --clear "$venv" || fail "python -m venv failed; is $venv writable?"
fi

# Installs FILE, if it has changed since, or one of the MORE that it draws in: install_wheels STAMP SIZE FILE [MORE...]
install_wheels() {
  local stamp=$venv/$1 size=$2 file=$3 wanted quiet
  wanted=$(cat "${@:3}" | sha256sum)
  [[ $(cat "$stamp" 2>/dev/null) != "$wanted" ]] || return 0
  say "installing the wheels of $file (a download of $size)"
  quiet=(--quiet)
  [[ -t 1 ]] && quiet=()
  "$venv/bin/python" -m pip install "${quiet[@]}" --disable-pip-version-check --no-compile -r "$file" ||
    fail "pip failed, its messages are above. It needs the network, 6 GB in $venv and 3 GB in ${TMPDIR:-/tmp}" \
      "(a larger folder for the latter: TMPDIR=/folder $0)."
  printf '%s\n' "$wanted" >"$stamp"
}
install_wheels layalign-requirements.sha256 "2 GB: some minutes" requirements.txt
if [[ $for_tests == yes ]]; then
  install_wheels layalign-test-requirements.sha256 "80 MB" tests/requirements.txt checkpoints_tools/requirements.txt
fi
say "Python wheels: all there"

# --- build -----------------------------------------------------------------------------------------------------------

# As many compilers as there are cores, but 2 GB of memory for each.
build_jobs() {
  local cores memory_kb limit_bytes jobs
  cores=$(nproc)
  memory_kb=$(awk '/^MemAvailable:/ {print $2}' /proc/meminfo)
  limit_bytes=$(cat /sys/fs/cgroup/memory.max 2>/dev/null || echo max)
  if [[ $limit_bytes != max && $((limit_bytes / 1024)) -lt $memory_kb ]]; then memory_kb=$((limit_bytes / 1024)); fi
  jobs=$((memory_kb / (2 * 1024 * 1024)))
  if [[ $jobs -gt $cores ]]; then jobs=$cores; fi
  if [[ $jobs -lt 1 ]]; then jobs=1; fi
  echo "$jobs"
}

site_packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
fresh=()
if ! grep -qsxF "CMAKE_HOME_DIRECTORY:INTERNAL=$(realpath "$root")" "$build_folder/CMakeCache.txt" && [[ -e $build_folder/CMakeCache.txt ]]; then
  say "$build_folder was configured in another folder: configuring it anew"
  fresh=(--fresh)
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! cmake --preset "$preset" "${fresh[@]}" "-DLAYALIGN_SITE_PACKAGES=$site_packages" >"$log" 2>&1; then
  cat "$log" >&2
  fail "CMake could not configure, its messages are above."
fi
jobs=${CMAKE_BUILD_PARALLEL_LEVEL:-$(build_jobs)}
say "building preset $preset in $build_folder/ with $jobs jobs (the first time: many minutes)"
cmake --build "$build_folder" --parallel "$jobs" ||
  fail "the build failed, its messages are above. Out of memory? CMAKE_BUILD_PARALLEL_LEVEL=1 $0"

# --- bin/ ------------------------------------------------------------------------------------------------------------

if [[ $preset == release ]]; then
  mkdir -p bin
  find bin -maxdepth 1 -type l -name 'layalign-*' -delete
  for program in "$build_folder"/layalign-*; do
    if [[ -f $program && -x $program ]]; then ln -s "../$program" bin/; fi
  done
  say "done; the programs are in bin/: $(cd bin && echo layalign-*)"
else
  say "done; the programs are in $build_folder/"
fi
