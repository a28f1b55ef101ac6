#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>

#include <optional>
#include <vector>

#include "model/clock.h"
#include "trainer/step_counters.h"

namespace layalign::trainer {

/// How long a step is in each of its phases. On a GPU by events on its stream: the time until the device has done what
/// the host asked for in the phase, waiting for the host included.
class PhaseTimer {
 public:
  explicit PhaseTimer(at::Device device) : device_(device) {}

  /// A step begins, in phase kData. Until `finish` nothing is timed unless it was called.
  void begin();
  /// What follows belongs to `phase`.
  void enter(Phase phase);
  /// The step ends. Waits for a GPU. Without `begin` nothing.
  std::optional<PhaseSeconds> finish();

 private:
  struct Mark {
    Phase phase;
    model::Clock::time_point host;
    std::optional<c10::Event> device;
  };
  void mark(Phase phase);

  at::Device device_;
  std::vector<Mark> marks_;
};

}  // namespace layalign::trainer
