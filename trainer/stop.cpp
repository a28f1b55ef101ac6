#include "trainer/stop.h"

#include <atomic>
#include <csignal>

#include "model/clock.h"

namespace layalign::trainer {
namespace {

const auto process_start = model::Clock::now();

std::atomic<int> asked{0};

[[noreturn]] void leave(const std::string& signal) {
  throw StoppedError("stopped by " + signal + "; what was finished is kept, the same command goes on");
}

}  // namespace

void ask_to_stop(int signal) noexcept { asked = signal; }

std::string asked_to_stop() {
  switch (const int signal = asked) {
    case 0: return "";
    case SIGTERM: return "SIGTERM";
    case SIGINT: return "SIGINT";
    case SIGUSR1: return "SIGUSR1";
    default: return "signal " + std::to_string(signal);
  }
}

double process_age_s() { return model::seconds_since(process_start); }

std::string agreed_reason(const std::string& mine, const dist::Process* process) {
  if (!process) return mine;
  for (const auto& reason : process->all_gather(mine)) {
    if (!reason.empty()) return reason;
  }
  return "";
}

void leave_if_any_is_asked_to_stop(const dist::Process* process) {
  if (const auto signal = agreed_reason(asked_to_stop(), process); !signal.empty()) leave(signal);
}

void tell_if_asked_to_stop(dist::Notice& notice) {
  if (const std::string mine = asked_to_stop(); !mine.empty()) notice.give(mine);
}

void leave_if_asked_to_stop(dist::Notice& notice) {
  tell_if_asked_to_stop(notice);
  if (const std::string signal = notice.heard(); !signal.empty()) leave(signal);
}

}  // namespace layalign::trainer
