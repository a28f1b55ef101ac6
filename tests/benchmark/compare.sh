#!/usr/bin/env bash
# Training steps beside those of the peer, in turns; compare.py says what is printed.
#   PYTHON=... tests/benchmark/compare.sh --work DIR [--build build] [--stage 1|2] [--pairs 5] ...
exec "${PYTHON:-python3}" "$(dirname "${BASH_SOURCE[0]}")/compare.py" "$@"
