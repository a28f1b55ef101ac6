#!/usr/bin/env bash
# Fuzzes the readers of foreign files, under the address and undefined-behaviour sanitizers: builds the targets with clang in
# out/fuzz, then runs each for so many seconds, or those that are named. 0 seconds: builds alone.
#   tests/fuzz/run.sh SECONDS [TARGET...]
# A line a target: executions, blocks of code reached, crashes, peak memory. What a target learns stays in out/fuzz/corpus. An
# input that crashes it, or takes more than a second or 512 MB, is kept in out/fuzz/crashes, and the line that shows it again is
# printed. Exit code 1: there was such an input; 2: clang is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source=tests/fuzz build=out/fuzz

mapfile -t targets <$source/targets.txt
usage() { printf 'Usage: tests/fuzz/run.sh SECONDS [TARGET...]\nTargets: %s\n' "${targets[*]}" >&2; exit 2; }

[[ ${1:-} =~ ^[0-9]+$ ]] || usage
seconds=$1
shift
[[ $# -gt 0 ]] || set -- "${targets[@]}"
for name; do grep -qxF "$name" $source/targets.txt || usage; done

has_fuzzer() { echo 'extern "C" int LLVMFuzzerTestOneInput(const char*, unsigned long) { return 0; }' | clang++ -fsanitize=fuzzer,address -x c++ - -o /dev/null 2>/dev/null; }
if ! has_fuzzer; then
  echo "fuzz: clang with its libFuzzer is missing. Install it, then run this again:" >&2
  echo "  sudo apt-get install -y --no-install-recommends $(sed -n 's/^\([a-z][^ ]*\) .*/\1/p' tests/packages.txt | tr '\n' ' ')" >&2
  exit 2
fi

mkdir -p $build/crashes
log=$(mktemp)
scratch=$(mktemp -d -p "$([[ -w /dev/shm ]] && echo /dev/shm || echo "${TMPDIR:-/tmp}")")  # targets write small files all the time
trap 'rm -rf "$log" "$scratch"' EXIT
{ flock 9; cmake -S $source -B $build -G Ninja -DCMAKE_CXX_COMPILER=clang++ && cmake --build $build --parallel "${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}"; } 9>$build/.lock >"$log" 2>&1 ||
  { cat "$log" >&2; exit 1; }
python3 $source/seeds.py $build/seeds

# The dictionaries of a target: its own, and that of JSON where it reads any.
dictionary_of() {
  case $1 in sentencepiece_model | tokenizer_text | yaml_config) ;; *) cat $source/dictionaries/json.dict ;; esac
  cat "$source/dictionaries/$1.dict" 2>/dev/null || true
}

fuzz() {
  local name=$1 run=$build/runs/$1 crashes
  mkdir -p "$build/corpus/$name" "$run"
  rm -f "$run"/*
  dictionary_of "$name" >"$run/dictionary"
  # A smaller quarantine of freed memory than the sanitizer's own, so that the peak is that of the code.
  TMPDIR=$scratch ASAN_OPTIONS=quarantine_size_mb=32 $build/"${name}_fuzz" -max_total_time="$seconds" -max_len=4096 -timeout=1 -rss_limit_mb=512 -dict="$run/dictionary" \
    -artifact_prefix="$run/" -print_final_stats=1 "$build/corpus/$name" "$build/seeds/$name" >"$run/log" 2>&1 || true
  crashes=$(find "$run" -name 'crash-*' -o -name 'timeout-*' -o -name 'oom-*' -o -name 'leak-*' | wc -l)
  awk -v name="$name" -v crashes="$crashes" '
    /^#/ && / cov: / { for (i = 1; i < NF; ++i) if ($i == "cov:") covered = $(i + 1) }
    /^stat::number_of_executed_units:/ { runs = $2 }
    /^stat::peak_rss_mb:/ { memory = $2 }
    END { printf "%-20s %9d executions  %5d blocks  %d crashes  %4d MB\n", name, runs, covered, crashes, memory }' "$run/log"
  if [[ $crashes -eq 0 ]] && grep -q '^stat::number_of_executed_units:' "$run/log"; then return 0; fi
  grep -v '^#' "$run/log" | tail -60
  for input in "$run"/{crash,timeout,oom,leak}-*; do
    [[ -e $input ]] || continue
    cp "$input" "$build/crashes/$name-${input##*/}"
    echo "kept; to see it again: $build/${name}_fuzz -timeout=1 -rss_limit_mb=512 $build/crashes/$name-${input##*/}"
  done
  return 1
}

failed=0
if [[ $seconds -gt 0 ]]; then
  for name; do fuzz "$name" || failed=1; done
fi
exit $failed
