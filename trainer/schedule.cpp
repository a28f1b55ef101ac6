#include "trainer/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "configs/error.h"

namespace layalign::trainer {

double learning_rate(const configs::ScheduleConfig& schedule, double peak, int64_t step, int64_t total_steps) {
  const auto warmup_steps = static_cast<int64_t>(std::ceil(schedule.warmup * static_cast<double>(total_steps)));
  if (step < warmup_steps) return peak * (static_cast<double>(step) / static_cast<double>(warmup_steps));
  if (schedule.name == "constant") return peak;
  const auto decay_steps = static_cast<double>(std::max<int64_t>(1, total_steps - warmup_steps));
  if (schedule.name == "linear") return peak * std::max(0.0, static_cast<double>(total_steps - step) / decay_steps);
  if (schedule.name == "cosine") {
    const double progress = static_cast<double>(step - warmup_steps) / decay_steps;
    return peak * std::max(0.0, 0.5 * (1.0 + std::cos(std::numbers::pi * progress)));
  }
  throw configs::ConfigError("schedule.name: expected cosine, linear or constant, got " + schedule.name);
}

}  // namespace layalign::trainer
