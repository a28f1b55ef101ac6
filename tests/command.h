#pragma once

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <regex>
#include <stdexcept>
#include <string>

namespace layalign::test {

/// What a finished command said.
struct Outcome {
  int code = 0;        ///< exit status; 128 + signal for one that a signal ended
  std::string output;  ///< stdout and stderr together
};

/// The exit status of mpirun, or, where mpirun crashed itself after it had ended an aborted job, the status that it was asked to end
/// with. mpirun of OpenMPI 4.1.4 over PMIx 4.2.2 (Debian 12) reads a null pointer in PMIx_server_finalize after about one abort in a
/// hundred on a busy machine, when all ranks are gone; a crash of a rank, and any other of mpirun, stays what it is.
inline int status_of_job(const Outcome& outcome) {
  constexpr int kSegmentationFault = 128 + 11;
  std::smatch asked;
  const bool is_crash_of_mpirun = outcome.code == kSegmentationFault && outcome.output.find("(PMIx_server_finalize+") != std::string::npos;
  if (!is_crash_of_mpirun || !std::regex_search(outcome.output, asked, std::regex("\nwith errorcode (\\d+)\\."))) return outcome.code;
  return std::stoi(asked[1]);
}

/// Runs a shell command line to its end.
inline Outcome run_command(const std::string& command) {
  FILE* pipe = popen(("( " + command + " ) 2>&1").c_str(), "r");
  if (!pipe) throw std::runtime_error("popen failed");
  Outcome outcome;
  std::array<char, 4096> buffer;
  while (size_t count = fread(buffer.data(), 1, buffer.size(), pipe)) outcome.output.append(buffer.data(), count);
  const int status = pclose(pipe);
  outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  outcome.code = status_of_job(outcome);
  return outcome;
}

}  // namespace layalign::test
