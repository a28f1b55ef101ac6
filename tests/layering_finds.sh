#!/usr/bin/env bash
# Does tests/layering.sh find each kind of breach, and nothing else? It is given a small made-up tree with all of them.
set -euo pipefail
check=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/layering.sh
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir "$tree"/{configs,dist,checkpoints_tools,data,model,trainer,launch}

echo '#include "configs/schema.h"' >"$tree/trainer/good.cpp"
"$check" "$tree" >"$tree/clean" || { echo "a clean tree was refused:" && cat "$tree/clean" && exit 1; }

echo '#include "model/llm.h"' >"$tree/data/upwards.cpp"
echo '#  include <mpi.h>' >"$tree/model/foreign.cpp"
echo '#include <spdlog/spdlog.h>' >"$tree/trainer/not_log.cpp"
echo '#include <nccl.h>' >"$tree/dist/inner.h"
echo '#include "dist/inner.h"' >"$tree/dist/outer.h"
echo '#include "dist/outer.h"' >"$tree/model/drawn_in.cpp"
if "$check" "$tree" >"$tree/found"; then echo "breaches went unseen" && exit 1; fi
for expected in data/upwards.cpp:1 model/foreign.cpp:1 trainer/not_log.cpp:1 model/drawn_in.cpp:1 '7 sources, 4 breaches'; do
  grep -qF "$expected" "$tree/found" || { echo "expected '$expected' in:" && cat "$tree/found" && exit 1; }
done
echo "all four kinds found"
