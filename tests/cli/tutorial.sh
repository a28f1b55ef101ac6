#!/usr/bin/env bash
# Runs the blocks of docs/tutorial.md that begin with "# run", in order, in a folder that looks like a fresh clone: tutorial.sh BUILD PYTHON
set -euo pipefail
root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../.."); build=$(realpath "$1")
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_mpi_yield_when_idle=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

ln -s "$root"/{checkpoints_tools,tests} .
mkdir -p bin .venv/bin
ln -s "$build"/layalign-{train,eval,checkpoint,cache} bin/
printf '#!/bin/sh\nexec %q "$@"\n' "$2" >.venv/bin/python
chmod +x .venv/bin/python
awk '/^```/ { run = 0; first = !inside; inside = !inside; next }
     first { first = 0; run = $0 == "# run" }
     run' "$root/docs/tutorial.md" >commands
[[ $(grep -c '^# run' commands) -ge 8 ]] || { echo "docs/tutorial.md has lost its blocks" >&2; exit 1; }
bash -euxo pipefail commands >log 2>&1 || { tail -n 60 log >&2; exit 1; }

expect() { grep -qF -- "$1" "$2" || { echo "$2 lacks: $1" >&2; tail -n 60 log >&2; exit 1; }; }
expect 'exit code 75' log
expect ' 0 broken' log
expect 'stage 2 task: 20 steps' log
expect 'msvamp: accuracy in percent, llm, mapping, layalign' log
[[ $(wc -l <runs/mine/metrics.jsonl) -eq 50 ]]
[[ -s runs/mine/report.html && -s mine-adapter/README.md && -s from-adapter/layalign/msvamp/scores.tsv ]]
