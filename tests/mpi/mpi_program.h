#pragma once

#include <string>

#include "tests/command.h"

/// Runs a program under mpirun. `timeout` turns a job that hangs into status 124; a healthy one ends within a few seconds, or tens of
/// them on a busy machine.
inline layalign::test::Outcome run_under_mpi(int ranks, const std::string& program) {
  return layalign::test::run_command("timeout 120 " LAYALIGN_SOURCE_DIR "/tests/mpirun.sh -n " + std::to_string(ranks) + " " + program);
}
