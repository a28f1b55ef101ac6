#!/usr/bin/env bash
# Sets up, then trains both stages of configs/quickstart.yaml on two ranks, in a fresh folder below runs/.
# Arguments go to layalign-train: ./launch/quickstart.sh --set seed=1
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ranks=2
./launch/setup.sh

if [[ $EUID -eq 0 ]]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
# OpenMPI counts cores without their second threads, and refuses more ranks than cores: two small ranks may share one.
export OMPI_MCA_rmaps_base_oversubscribe=1
# Containers often forbid a process to read another's memory; messages as small as these do not need it.
export OMPI_MCA_btl_vader_single_copy_mechanism=none
threads=$(($(nproc) / ranks))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}

run=runs/quickstart-$(date +%Y%m%d-%H%M%S)
for argument in "$@"; do
  case $argument in output=* | --set=output=*) run=${argument##*output=} ;; esac
done
printf 'quickstart: mpirun -n %d bin/layalign-train configs/quickstart.yaml --set output=%s %s\n' "$ranks" "$run" "$*"
status=0
mpirun -n "$ranks" --bind-to none bin/layalign-train configs/quickstart.yaml --set "output=$run" "$@" || status=$?

if [[ $status -ne 0 ]]; then
  printf 'quickstart: layalign-train ended with exit code %d; its messages are above.\n' "$status" >&2
  exit "$status"
fi
printf '\nquickstart: everything of this run lies in %s:\n' "$PWD/$run"
find "$run" -type f -printf '  %P\n' | sort
