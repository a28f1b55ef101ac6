#include "trainer/stop.h"

#include <string.h>  // sigabbrev_np

#include <atomic>

namespace layalign::trainer {
namespace {

std::atomic<int> asked{0};
static_assert(std::atomic<int>::is_always_lock_free);  // a signal handler writes it

}  // namespace

void ask_to_stop(int signal) noexcept { asked = signal; }

std::string asked_to_stop() {
  const int signal = asked;
  if (signal == 0) return "";
  const char* name = ::sigabbrev_np(signal);
  return name ? std::string("SIG") + name : "signal " + std::to_string(signal);
}

void leave_if_asked_to_stop() {
  const std::string signal = asked_to_stop();
  if (!signal.empty()) throw StoppedError("stopped by " + signal + "; what was finished is kept, the same command goes on");
}

}  // namespace layalign::trainer
