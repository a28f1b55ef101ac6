#include "trainer/profile.h"

#include <algorithm>
#include <numeric>

#include "trainer/format.h"

namespace layalign::trainer {
namespace {

using Lines = std::vector<std::string>;
using Steps = std::vector<StepMetrics>;

/// The mean over the steps that were counted.
template <typename Value>
double mean(const Steps& steps, Value value) {
  double sum = 0;
  for (const StepMetrics& step : steps) sum += static_cast<double>(value(step));
  return sum / static_cast<double>(steps.size());
}

Steps counted(const Steps& all) {
  Steps steps;
  std::ranges::copy_if(all, std::back_inserter(steps),
                       [](const StepMetrics& step) { return step.counters && step.phase_s; });
  return steps;
}

void add_phases(const Steps& steps, Lines* lines) {
  PhaseSeconds means{};
  for (size_t i = 0; i < kPhases; ++i)
    means[i] = mean(steps, [&](const StepMetrics& step) { return (*step.phase_s)[i]; });
  const double whole = std::accumulate(means.begin(), means.end(), 0.0);
  for (size_t i = 0; i < kPhases; ++i) {
    lines->push_back(format("  %-14s %10.4f s %5.1f %%", kPhaseNames[i], means[i], 100 * means[i] / whole));
  }
}

void add_flops(const Steps& steps, Lines* lines) {
  lines->push_back("  GFLOP of the first rank by formula and executed");
  for (const FlopsEntry& entry : kFlopsEntries) {
    const double formula = mean(steps, [&](const StepMetrics& step) { return entry.of(step.counters->flops); });
    const double executed = mean(steps, [&](const StepMetrics& step) {
      return step.counters->executed ? entry.of(step.counters->executed->flops) : 0;
    });
    lines->push_back(format("  %-14s %12.4f %12.4f", entry.name, formula / 1e9, executed / 1e9));
  }
}

void add_collectives(const Steps& steps, const char* name, GroupTraffic StepCounters::*group, Lines* lines) {
  const auto of = [&](int64_t GroupTraffic::*member) {
    return mean(steps, [&](const StepMetrics& step) { return (*step.counters).*group.*member; });
  };
  lines->push_back(format("  collectives    %s: %.1f all-reduces, %.1f all-gathers, %.3f MB", name,
                          of(&GroupTraffic::all_reduces), of(&GroupTraffic::all_gathers),
                          of(&GroupTraffic::bytes) / 1e6));
}

}  // namespace

std::vector<std::string> Profile::take_lines() {
  const Steps steps = counted(steps_);
  steps_.clear();
  if (steps.empty()) return {};
  const StepMetrics& last = steps.back();
  Lines lines = {format("profile of %zu steps of stage %s, means of a step (%.0f LLM tokens, %.1f samples)",
                        steps.size(), last.stage.c_str(), mean(steps, [](const auto& step) { return step.llm_tokens; }),
                        mean(steps, [](const auto& step) { return step.samples; }))};
  add_phases(steps, &lines);
  add_flops(steps, &lines);
  add_collectives(steps, "tp", &StepCounters::tp, &lines);
  add_collectives(steps, "world", &StepCounters::world, &lines);
  const auto executed = [&](int64_t model::WorkCount::*member) {
    return mean(steps, [&](const StepMetrics& step) {
      return step.counters->executed ? (*step.counters->executed).*member : 0;
    });
  };
  lines.push_back(format("  operators      %.0f, moved beside products %.3f GB, host waits %.1f",
                         executed(&model::WorkCount::operators), executed(&model::WorkCount::moved_bytes) / 1e9,
                         executed(&model::WorkCount::host_syncs)));
  lines.push_back(format("  tokens         labels %.1f %%, padding %.1f %%, fullest rank %.3f of the mean",
                         100 * mean(steps, [](const auto& step) { return step.counters->label_ratio; }),
                         100 * mean(steps, [](const auto& step) { return padding_ratio(*step.counters); }),
                         mean(steps, [](const auto& step) { return step.counters->rank_imbalance; })));
  lines.push_back(format("  peak memory    %.1f MiB of the fullest rank, %.1f MiB in tensors of the first one",
                         static_cast<double>(last.peak_memory_bytes) / (1 << 20),
                         static_cast<double>(last.counters->peak_tensor_bytes) / (1 << 20)));
  if (last.mfu) {
    lines.push_back(format("  MFU            %.1f %% (4 FLOPs a weight of the LLM's layers and token)",
                           100 * mean(steps, [](const auto& step) { return step.mfu.value_or(0); })));
  }
  return lines;
}

}  // namespace layalign::trainer
