#!/usr/bin/env bash
# Sets up, then runs the tests. Arguments go to ctest: ./launch/test.sh -L unit
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

./launch/setup.sh --tests
exec ctest --preset release --output-on-failure --no-tests=error --parallel "$(nproc)" "$@"
