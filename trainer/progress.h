#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "trainer/metrics.h"

namespace layalign::trainer {

/// "45s", "1m40s", "3h05m", "2d04h".
std::string format_duration(double seconds);

/// Shows how a stage advances, on the rank that made it: a bar in the last line of a terminal, log lines elsewhere.
class Progress {
 public:
  /// `stage_index` is 0 for the first stage; `log_every` is the steps from one line to the next without a terminal (the
  /// last step always gives one).
  Progress(std::string stage_name, int64_t stage_index, int64_t stage_count, int64_t total_steps, int64_t log_every,
           bool terminal);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// Removes the bar, so that the message of an error does not follow it on the same line.
  ~Progress();

  /// Shows a finished step.
  void step(const StepMetrics& metrics);

  /// Removes the bar; a terminal keeps the last step as a line.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;

  std::string numbers(const StepMetrics& metrics) const;
  /// What a log line has room for: samples a second, the share of each phase.
  static std::string details(const StepMetrics& metrics);
  std::string bar(const StepMetrics& metrics, int width) const;
  /// Seconds that the other steps will take, at the pace of those seen.
  double remaining_s(int64_t step) const;

  std::string title_;
  int64_t total_steps_, log_every_;
  bool terminal_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point drawn_{};
  int64_t steps_seen_ = 0;
  std::optional<StepMetrics> last_;
};

}  // namespace layalign::trainer
