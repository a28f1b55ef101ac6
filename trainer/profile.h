#pragma once

#include <string>
#include <vector>

#include "trainer/metrics.h"

namespace layalign::trainer {

/// What `--profile` prints of a stage: its steps' counters and times, averaged.
class Profile {
 public:
  void add(const StepMetrics& metrics) { steps_.push_back(metrics); }

  /// Lines for people, and forgets the steps. Empty without steps.
  std::vector<std::string> take_lines();

 private:
  std::vector<StepMetrics> steps_;
};

}  // namespace layalign::trainer
