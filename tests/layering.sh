#!/usr/bin/env bash
# Do the rooms include only rooms below them, and do foreign headers stay in their room?  tests/layering.sh [ROOT]
# Prints each breach as file:line and fails if there is one.
set -uo pipefail
cd "${1:-$(dirname "${BASH_SOURCE[0]}")/..}" || exit 1

rooms=(configs dist checkpoints_tools data model trainer launch)  # lowest first, as in the root CMakeLists.txt
breaches=0
breach() {
  printf '%s\n  %s\n' "$1" "$2"
  breaches=$((breaches + 1))
}

sources_of() { find "$1" -type f \( -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' \) | sort; }

# file:line:include of each include in the room $1 that matches the pattern $2
includes() { sources_of "$1" | xargs -r grep -nHE "^[[:space:]]*#[[:space:]]*include[[:space:]]*[<\"]$2"; }

# 1. Arrows go downwards only.
seen=0
for ((i = 0; i < ${#rooms[@]}; i++)); do
  seen=$((seen + $(sources_of "${rooms[i]}" | wc -l)))
  for ((j = i + 1; j < ${#rooms[@]}; j++)); do
    while IFS= read -r hit; do
      breach "$hit" "${rooms[i]}/ lies below ${rooms[j]}/ and may not include it; move what it needs downwards"
    done < <(includes "${rooms[i]}" "${rooms[j]}/")
  done
done
if [[ $seen -eq 0 ]]; then breach "$PWD" "holds no sources: is it the root of the repository?"; fi

# 2. Foreign headers stay in their room: pattern, the place that may include it, its name.
owners=(
  'mpi\.h[>"]' dist/ MPI
  'nccl\.h[>"]' dist/ NCCL
  '(cuda\.h|cuda_runtime|c10/cuda/|ATen/cuda/)' dist/ CUDA
  'hdf5' data/ HDF5
  'oniguruma' data/pattern.cpp Oniguruma
  'unicode/' data/unicode.cpp ICU
  'yaml-cpp/' configs/ yaml-cpp
  'CLI/' launch/ CLI11
  'spdlog/' trainer/log.cpp spdlog
)
for ((k = 0; k < ${#owners[@]}; k += 3)); do
  for room in "${rooms[@]}"; do
    while IFS= read -r hit; do
      [[ $hit == "${owners[k + 1]}"* ]] || breach "$hit" "headers of ${owners[k + 2]} belong to ${owners[k + 1]}"
    done < <(includes "$room" "${owners[k]}")
  done
done

# 3. No header that another room includes draws a foreign header in, directly or through headers of its room.
foreign=$(for ((k = 0; k < ${#owners[@]}; k += 3)); do printf '%s|' "${owners[k]}"; done)
foreign=${foreign%|}
declare -A tainted=()
for room in "${rooms[@]}"; do
  while IFS=: read -r file _; do [[ $file == *.h ]] && tainted[$file]=1; done < <(includes "$room" "($foreign)")
done
before=-1
while [[ ${#tainted[@]} -ne $before ]]; do
  before=${#tainted[@]}
  for header in "${!tainted[@]}"; do
    while IFS=: read -r file _; do [[ $file == *.h ]] && tainted[$file]=1; done < <(includes "${header%%/*}" "$header\"")
  done
done
for header in "${!tainted[@]}"; do
  for room in "${rooms[@]}"; do
    [[ $room == "${header%%/*}" ]] && continue
    while IFS= read -r hit; do
      breach "$hit" "$header includes a foreign header; hide that in a .cpp file"
    done < <(includes "$room" "$header\"")
  done
done

printf '%d sources, %d breaches\n' "$seen" "$breaches"
[[ $breaches -eq 0 ]]
