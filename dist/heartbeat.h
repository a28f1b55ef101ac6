#pragma once

#include <memory>
#include <vector>

#include "dist/activity.h"

namespace layalign::dist {

/// A sign of life.
struct Heartbeat {
  int32_t rank = 0;
  int32_t is_last = 0;   ///< 1: the rank ends
  double idle_s = 0;     ///< since it last went on (ActivityRecord::progress)
  ActivityRecord activity;
};

/// Carries heartbeats of all ranks to the observers, which are the first rank and the last: one of them is left where the other hangs,
/// or its whole node. Sends never wait. Threads: one at a time, beside any other use of MPI.
class HeartbeatChannel {
 public:
  virtual ~HeartbeatChannel() = default;

  /// To the observers; one that has not taken the last heartbeat yet misses this one.
  virtual void send(const Heartbeat& beat) = 0;
  /// Those that have arrived since the last call; none on a rank that is no observer.
  virtual std::vector<Heartbeat> receive() = 0;
  /// Waits a moment for the sends to be done. True: they are.
  virtual bool flush(double patience_s) = 0;
};

}  // namespace layalign::dist
