#pragma once

#include <sys/wait.h>

#include <cstdio>
#include <string>

/// How a program that ran under mpirun has ended.
struct Outcome {
  int status = -1;
  std::string output;
};

/// `timeout` turns a job that hangs into status 124; a healthy one ends within a few seconds, or tens of them on a busy machine.
inline Outcome run_under_mpi(int ranks, const std::string& program) {
  const std::string command =
      std::string("timeout 120 ") + LAYALIGN_SOURCE_DIR "/tests/mpirun.sh -n " + std::to_string(ranks) + " " + program + " 2>&1";
  Outcome outcome;
  FILE* pipe = popen(command.c_str(), "r");
  if (!pipe) return outcome;
  char buffer[4096];
  for (size_t count; (count = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) outcome.output.append(buffer, count);
  const int result = pclose(pipe);
  if (WIFEXITED(result)) outcome.status = WEXITSTATUS(result);
  return outcome;
}
