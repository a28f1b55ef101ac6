// A program for abort_test: the last rank fails in the way that argv[1] names while the others wait in a collective.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

#include "dist/process.h"

namespace {

using layalign::dist::Process;

bool is_last(const Process& process) { return process.world_rank() == process.world_size() - 1; }

// As `launch` does it: the process outlives the failure, which ends all ranks with its code.
int run_and_abort(const std::string& how, int code) {
  const auto process = std::make_shared<Process>();
  try {
    if (is_last(*process)) throw std::runtime_error("the last rank gives up");
    process->barrier();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rank %d: %s\n", process->world_rank(), error.what());
    if (how == "two_threads") std::jthread([&] { process->abort(code); }).detach();
    process->abort(code);
  }
  return 0;
}

// The process is destroyed by the exception itself: it must not wait for its peers.
int run_and_unwind(int code) {
  try {
    const Process process;
    if (is_last(process)) throw std::runtime_error("the last rank gives up");
    process.barrier();
  } catch (const std::exception&) {
    return code;
  }
  return 0;
}

int run_and_finish() {
  Process process;
  process.barrier();
  process.finalize();
  process.finalize();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::string how = argv[1];
  const int code = std::atoi(argv[2]);
  if (how == "unwind") return run_and_unwind(code);
  if (how == "finish") return run_and_finish();
  return run_and_abort(how, code);
}
