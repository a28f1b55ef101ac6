#include "launch/signals.h"

#include <csignal>

#include "trainer/stop.h"

namespace layalign::launch {
namespace {

constexpr int kStopSignals[] = {SIGTERM, SIGUSR1, SIGINT};

void ask(int signal) {
  trainer::ask_to_stop(signal);
  if (signal == SIGINT) std::signal(SIGINT, SIG_DFL);
}

}  // namespace

void catch_stop_signals() {
  struct sigaction action {};
  action.sa_handler = ask;
  action.sa_flags = SA_RESTART;
  for (const int signal : kStopSignals) sigaction(signal, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

}  // namespace layalign::launch
