#include "trainer/profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "trainer/gpu_specs.h"

namespace layalign::trainer {
namespace {

using testing::Contains;
using testing::HasSubstr;

StepMetrics step(int64_t number, int64_t llm_flops) {
  StepMetrics metrics{.stage = "task", .step = number, .samples = 4, .llm_tokens = 100};
  metrics.phase_s = PhaseSeconds{0.1, 0.1, 0.3, 0.4, 0.05, 0.05};
  metrics.counters.emplace();
  metrics.counters->tp = {20, 1, 2'000'000};
  metrics.counters->flops.forward[static_cast<size_t>(model::Part::kLlm)] = llm_flops;
  metrics.counters->executed = model::WorkCount{.flops = metrics.counters->flops, .operators = 500, .moved_bytes = 2'500'000, .host_syncs = 1};
  return metrics;
}

TEST(Profile, TellsMeansOfTheSteps) {
  Profile profile;
  EXPECT_TRUE(profile.take_lines().empty());
  profile.add(step(1, 2'000'000'000));
  profile.add(step(2, 4'000'000'000));
  profile.add(StepMetrics{.stage = "task", .step = 3});  // skipped: it has no counters
  const auto lines = profile.take_lines();
  EXPECT_THAT(lines[0], HasSubstr("2 steps of stage task"));
  EXPECT_THAT(lines, Contains(testing::MatchesRegex("  backward +0.4000 s +40.0 %")));
  EXPECT_THAT(lines, Contains(testing::MatchesRegex("  llm_forward +3.0000 +3.0000")));
  EXPECT_THAT(lines, Contains(HasSubstr("tp: 20.0 all-reduces, 1.0 all-gathers, 2.000 MB")));
  EXPECT_THAT(lines, Contains(HasSubstr("500, moved beside products 0.003 GB, host waits 1.0")));
  EXPECT_TRUE(profile.take_lines().empty());
}

TEST(GpuSpecs, AreFoundByTheDriversName) {
  EXPECT_EQ(find_gpu("NVIDIA H200")->bfloat16_flops, 989e12);
  EXPECT_EQ(find_gpu("NVIDIA H100 PCIe")->bfloat16_flops, 756e12);
  EXPECT_EQ(find_gpu("NVIDIA L40S")->bfloat16_flops, 362e12);
  EXPECT_EQ(find_gpu("NVIDIA L40")->bfloat16_flops, 181e12);
  EXPECT_FALSE(find_gpu("").has_value());
  EXPECT_DOUBLE_EQ(*flops_utilization("NVIDIA H200", "bfloat16", 989e12, 4.0, 2), 0.125);
  EXPECT_FALSE(flops_utilization("", "float32", 1e12, 1.0, 1).has_value());
}

}  // namespace
}  // namespace layalign::trainer
