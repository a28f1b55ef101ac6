#include "launch/signals.h"

#include <pthread.h>

#include <csignal>
#include <thread>

#include "trainer/stop.h"

namespace layalign::launch {
namespace {

constexpr int kStopSignals[] = {SIGTERM, SIGUSR1, SIGINT};

/// Waits for the signals of the set until the process ends.
[[noreturn]] void hear(sigset_t signals) {
  bool was_interrupted = false;
  while (true) {
    int signal = 0;
    if (sigwait(&signals, &signal) != 0) continue;
    trainer::ask_to_stop(signal);
    if (signal != SIGINT) continue;
    if (was_interrupted) {  // what it does by default: the process is gone
      pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
      std::raise(SIGINT);
    }
    was_interrupted = true;
  }
}

}  // namespace

void catch_stop_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : kStopSignals) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  for (const int signal : kStopSignals) std::signal(signal, SIG_DFL);  // a shell's background job ignores SIGINT
  std::signal(SIGPIPE, SIG_IGN);
  std::thread(hear, signals).detach();
}

}  // namespace layalign::launch
