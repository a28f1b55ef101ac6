#include "launch/signals.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "trainer/stop.h"

namespace layalign::launch {
namespace {

constexpr int kStopSignals[] = {SIGTERM, SIGUSR1, SIGINT};

/// Whether bit SIGNAL of a mask in /proc is set: SigBlk, SigCgt (has a handler).
bool has(const std::filesystem::path& status, const std::string& mask, int signal) {
  std::ifstream lines(status);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(mask + ":")) return std::stoull(line.substr(mask.size() + 1), nullptr, 16) >> (signal - 1) & 1;
  }
  ADD_FAILURE() << status << " has no " << mask;
  return false;
}

template <class Condition>
void wait_until(Condition condition) {
  while (!condition()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

TEST(StopSignals, RunNothingOnAnyThread) {
  catch_stop_signals();
  std::atomic<bool> done = false;
  std::thread worker([&] { wait_until([&] { return done.load(); }); });
  int threads = 0, open = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    ++threads;
    for (const int signal : kStopSignals) {
      open += !has(task.path() / "status", "SigBlk", signal);
      EXPECT_FALSE(has(task.path() / "status", "SigCgt", signal)) << "a handler's frame would be written anywhere";
    }
  }
  EXPECT_GE(threads, 3);  // this one, the one that waits for them, the worker
  EXPECT_LE(open, 3);     // the one that waits for them has them open while it does
  sigset_t blocked;
  pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
  for (const int signal : kStopSignals) EXPECT_TRUE(sigismember(&blocked, signal)) << signal;
  done = true;
  worker.join();
}

TEST(StopSignals, AskForAStop) {
  std::signal(SIGINT, SIG_IGN);  // as a shell does for its background jobs
  catch_stop_signals();
  EXPECT_EQ(trainer::asked_to_stop(), "");
  for (const auto& [signal, name] : {std::pair(SIGUSR1, "SIGUSR1"), std::pair(SIGTERM, "SIGTERM"), std::pair(SIGINT, "SIGINT")}) {
    kill(getpid(), signal);
    wait_until([&] { return trainer::asked_to_stop() == name; });
  }
  kill(getpid(), SIGTERM);  // one SIGINT is no second one
  wait_until([] { return trainer::asked_to_stop() == "SIGTERM"; });
}

TEST(StopSignals, ASecondInterruptEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        std::signal(SIGINT, SIG_IGN);
        catch_stop_signals();
        kill(getpid(), SIGINT);
        wait_until([] { return trainer::asked_to_stop() == "SIGINT"; });
        kill(getpid(), SIGINT);
        wait_until([] { return false; });
      },
      testing::KilledBySignal(SIGINT), "");
}

}  // namespace
}  // namespace layalign::launch
