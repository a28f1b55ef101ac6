#!/usr/bin/env bash
# Packs the programs of build/ for a machine that has the same torch wheel but none of the distribution's packages:
#   ./launch/bundle.sh OUT.tar.gz
# The archive (OUT.tar, or compressed as its name ends: .gz, .xz, .zst) holds layalign/: bin/ (programs, layalign-env),
# lib/ (every shared library they need that is not torch's, CUDA's or libc's; the CUDA plug-in) and mpi/ (mpirun with its plug-ins, for shared memory and TCP). launch/README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { printf 'bundle: %s\n' "$@" >&2; exit 1; }

[[ $# -eq 1 && $1 != -* ]] || { echo "Usage: ./launch/bundle.sh OUT.tar.gz" >&2; exit 2; }
out=$1
for tool in patchelf ompi_info objdump strip; do
  command -v "$tool" >/dev/null || fail "$tool is missing: sudo apt-get install -y --no-install-recommends patchelf openmpi-bin binutils"
done
shopt -s nullglob
programs=()
for file in build/layalign-*; do if [[ -f $file && -x $file ]]; then programs+=("$file"); fi; done
[[ ${#programs[@]} -gt 0 ]] || fail "build/ holds no programs: run ./launch/setup.sh"

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
bundle=$stage/layalign
mkdir -p "$bundle"/{bin,lib,mpi/{bin,plugins,pmix,share,etc}}

# What belongs to the system or to the torch wheel: libc and its family, the compiler's run-time libraries, which torch
# itself takes from the system, the driver, and all that lies below site-packages.
stays_behind() {
  case $1 in
    linux-vdso.* | ld-linux* | libc.so.* | libm.so.* | libmvec.so.* | libdl.so.* | libpthread.so.* | librt.so.* | libutil.so.* | \
      libresolv.so.* | libanl.so.* | libnss_* | libstdc++.so.* | libgcc_s.so.* | libgomp.so.* | libcuda.so.*) return 0 ;;
  esac
  [[ $2 == */site-packages/* || $2 == */dist-packages/* ]]
}

copy_libraries_of() {
  local file name path
  for file in "$@"; do
    while read -r name _ path _; do
      [[ $path == /* ]] || continue
      if stays_behind "$name" "$path" || [[ -e $bundle/lib/$name ]]; then continue; fi
      cp -L "$path" "$bundle/lib/$name"
    done < <(ldd "$file" | grep '=>')
    ! ldd "$file" | grep -q 'not found' || fail "$file needs libraries that this machine lacks:" "$(ldd "$file" | grep 'not found')"
  done
}

mpi_folder() { ompi_info --parsable --path "$1" | sed -n "s/^path:$1://p" | head -n 1; }

# Fabrics (UCX, libfabric, verbs, PSM) need drivers and settings of their own machine; GPUs talk through NCCL anyway.
of_a_fabric() { ldd "$1" | grep -qE 'libucp|libfabric|libibverbs|libpsm|libportals'; }

copy_libraries_of "${programs[@]}"
cp -L "${programs[@]}" "$bundle/bin/"
if [[ -e build/liblayalign_cuda.so ]]; then
  copy_libraries_of build/liblayalign_cuda.so
  cp -L build/liblayalign_cuda.so "$bundle/lib/"
fi

for tool in mpirun orted; do
  path=$(realpath "$(command -v "$tool")") || fail "$tool is missing: sudo apt-get install -y openmpi-bin"
  copy_libraries_of "$path"
  cp -L "$path" "$bundle/mpi/bin/$tool"
done
for plugin in "$(mpi_folder pkglibdir)"/mca_*.so; do
  if of_a_fabric "$plugin"; then continue; fi
  copy_libraries_of "$plugin"
  cp -L "$plugin" "$bundle/mpi/plugins/"
done
pmix=$(ldd "$(mpi_folder pkglibdir)"/mca_pmix_*.so | awk '$1 ~ /^libpmix/ && $3 ~ /^\// {print $3; exit}')
if [[ -n $pmix ]]; then  # OpenMPI was built against a PMIx of its own, which has plug-ins too
  for plugin in "$(dirname "$(realpath "$pmix")")"/pmix/*.so; do
    copy_libraries_of "$plugin"
    cp -L "$plugin" "$bundle/mpi/pmix/"
  done
fi
cp -r "$(mpi_folder pkgdatadir)/." "$bundle/mpi/share/"
settings=$(mpi_folder sysconfdir)/openmpi-mca-params.conf
if [[ -e $settings ]]; then cp -L "$settings" "$bundle/mpi/etc/"; fi

chmod -R u+w "$bundle"
strip --strip-unneeded "$bundle"/bin/*
# shellcheck disable=SC2016  # the dynamic loader expands it
origin='$ORIGIN'
for file in "$bundle"/bin/*; do patchelf --set-rpath "$origin/../lib" "$file"; done
for file in "$bundle"/lib/*; do patchelf --set-rpath "$origin" "$file"; done
for file in "$bundle"/mpi/{bin,plugins,pmix}/*; do patchelf --set-rpath "$origin/../../lib" "$file"; done

sed -n 's/^torch==//p' requirements.txt >"$bundle/TORCH_VERSION"
cat >"$bundle/bin/layalign-env" <<'EOF'
#!/usr/bin/env bash
# Runs a command with this bundle's programs and mpirun on the PATH and the machine's torch wheel within reach:
#   bin/layalign-env mpirun -n 2 layalign-train config.yaml
# LAYALIGN_PYTHON names the python that has torch (default python3).
set -euo pipefail
bundle=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
[[ $# -gt 0 ]] || { echo "Usage: layalign-env COMMAND [ARGUMENT...]" >&2; exit 2; }

python=${LAYALIGN_PYTHON:-python3}
wanted=$(cat "$bundle/TORCH_VERSION")
torch=$("$python" -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])' 2>/dev/null) || {
  echo "layalign-env: $python has no torch. Run: $python -m pip install torch==$wanted, or set LAYALIGN_PYTHON" >&2
  exit 2
}
version=$(sed -n "s/^__version__ = '\(.*\)'/\1/p" "$torch/version.py")
if [[ ${version%%+*} != "$wanted" ]]; then
  echo "layalign-env: these programs were built for torch $wanted, but $python has $version: $python -m pip install torch==$wanted" >&2
  exit 2
fi

libraries=$bundle/lib:$torch/lib
for folder in "$torch"/../nvidia/*/lib; do
  if [[ -d $folder ]]; then libraries+=:$(realpath "$folder"); fi
done
export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export PATH=$bundle/bin:$bundle/mpi/bin:$PATH
export OPAL_PREFIX=$bundle/mpi OPAL_LIBDIR=$bundle/lib OPAL_PKGLIBDIR=$bundle/mpi/plugins
export OPAL_BINDIR=$bundle/mpi/bin OPAL_PKGDATADIR=$bundle/mpi/share OPAL_SYSCONFDIR=$bundle/mpi/etc
export PMIX_PKGLIBDIR=$bundle/mpi/pmix
if [[ $EUID -eq 0 ]]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
# without ssh mpirun would stop, though it needs none for the ranks of its own machine
if ! command -v ssh >/dev/null && ! command -v rsh >/dev/null; then export OMPI_MCA_plm=isolated; fi
exec "$@"
EOF
chmod +x "$bundle/bin/layalign-env"

newest() { objdump -T "$bundle"/bin/layalign-[!e]* "$bundle"/lib/* 2>/dev/null | grep -oE "\b$1_[0-9.]+" | sort -uV | tail -n 1; }
tar --owner=0 --group=0 --sort=name -C "$stage" --auto-compress -cf "$out" layalign
printf 'bundle: %s, %s; the other machine needs torch %s, %s and %s\n' "$out" "$(du -h "$out" | cut -f 1)" \
  "$(cat "$bundle/TORCH_VERSION")" "$(newest GLIBC)" "$(newest GLIBCXX)"
