#!/usr/bin/env bash
# Sets up, then trains both stages of configs/quickstart.yaml on two ranks in a fresh folder below runs/, and scores the result
# beside the LLM alone. --set goes to layalign-train and layalign-eval: ./launch/quickstart.sh --set seed=1
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ranks=2 config=configs/quickstart.yaml data=runs/quickstart-data
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

step() {  # command...
  printf '\nquickstart: %s\n' "$*"
  local status=0
  "$@" || status=$?
  [[ $status -eq 0 ]] || { printf 'quickstart: this ended with exit code %d; its messages are above.\n' "$status" >&2; exit "$status"; }
}
step "${LAYALIGN_VENV:-.venv}/bin/python" tests/miniature/make_corpora.py --out "$data"
step mpirun -n "$ranks" --bind-to none bin/layalign-train "$config" --set "output=$run" "$@"
step mpirun -n "$ranks" --bind-to none bin/layalign-eval "$config" --task msvamp --compare llm,mapping,layalign --set "output=$run" "$@"
printf '\nquickstart: everything of this run lies in %s:\n' "$PWD/$run"
find "$run" -type f -printf '  %P\n' | sort
