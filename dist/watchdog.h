#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "dist/communicator.h"
#include "dist/heartbeat.h"
#include "dist/process.h"
#include "dist/verdict.h"

namespace layalign::dist {

/// Seconds in a section after which some rank must have gone on: with the next step or batch, or the next collective. 0: no limit.
struct WatchdogLimits {
  double set_up_s = 0;
  double step_s = 0;
  double save_s = 0;
  double evaluation_s = 0;

  double of(Section section) const;
};

/// What the watchdog tells and asks.
struct WatchdogTalk {
  std::function<void(const std::string&)> error;  ///< before all ranks are ended
  std::function<void(const std::string&)> note;
  std::function<std::string()> asked_to_stop;     ///< why this process was asked to end; empty: it was not
};

/// A thread of each rank that ends all of them where they do not go on: MPI does not notice a rank that is stopped, loops, or waits
/// in a collective that another one never enters. All ranks send heartbeats to the observers. Where none has gone on for longer
/// than the largest limit of the sections that they are in, the first observer, else the second, says who holds up the others
/// (verdict.h), aborts the communicators and ends the job with exit code 70.
/// Its clock stands still while the process is stopped as a whole (a job that is suspended, a debugger).
/// Collectives: construction, on the control channel; `stop`, with heartbeats.
class Watchdog {
 public:
  Watchdog(std::shared_ptr<Process> process, const WatchdogLimits& limits, WatchdogTalk talk);
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;
  /// Ends the thread of this rank.
  ~Watchdog();

  /// A communicator to abort before the job is ended.
  void guard(const Communicator& communicator);

  /// Ends the watchdogs of all ranks. Before `Process::finalize`.
  void stop();

 private:
  void run();
  void end_thread();
  /// Sends, receives, and ends the job where it is time.
  void tick();
  Heartbeat own_beat() const;
  void take(const Heartbeat& beat);
  bool is_observer() const;
  void tell_of_stop();
  /// Without a heartbeat a rank is called silent.
  double silent_after_s() const;
  /// The largest limit of the sections that ranks are in which are not silent; 0: none.
  double limit_s() const;
  /// Since any rank went on.
  double idle_s() const;
  [[noreturn]] void end_job();
  void abort_communicators();

  /// What is known of a rank.
  struct Observed {
    RankView view;
    double heard_at_s = 0;    // of the watchdog's own clock
    double went_on_at_s = 0;
    bool has_left = false;    // its watchdog has ended
  };

  std::shared_ptr<Process> process_;
  WatchdogLimits limits_;
  WatchdogTalk talk_;
  double interval_s_ = 0;
  std::shared_ptr<HeartbeatChannel> channel_;  // null in a world of one
  std::vector<Observed> ranks_;                // of itself, and on observers of all
  double now_s_ = 0;
  bool told_of_stop_ = false;

  std::mutex mutex_;  // guards the two below
  std::vector<Communicator> guarded_;
  bool stopping_ = false;
  std::condition_variable wake_;
  std::thread thread_;
};

}  // namespace layalign::dist
