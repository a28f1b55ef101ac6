#include "trainer/grid_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/scratch_folder.h"

namespace layalign::trainer {
namespace {

using testing::HasSubstr;

constexpr int64_t kGiB = int64_t{1} << 30;

RunPlan plan(int tp, int64_t held_bytes, double step_s) {
  RunPlan plan{.world = 4, .tp = tp};
  plan.held.llm = held_bytes;
  plan.stages = {StagePlan{.steps = 100, .product_s = step_s}};
  return plan;
}

Machine machine() { return {.name = "h200", .memory_bytes = 100.0 * kGiB}; }

TEST(GridChoice, TheShortestRunThatFits) {
  const auto choice = choose_grid({plan(1, 120 * kGiB, 1), plan(2, 60 * kGiB, 3), plan(4, 30 * kGiB, 2)}, machine());
  EXPECT_EQ(choice.tensor, 4);
  EXPECT_EQ(choice.reason,
            "parallel.tensor: auto is 4 on 4 ranks of h200: 1 does not fit (120.0 GiB of 100.0), 2 takes 5m00s, 4 "
            "takes 3m20s");
}

TEST(GridChoice, OfEqualsTheSmaller) {
  EXPECT_EQ(choose_grid({plan(1, kGiB, 2), plan(2, kGiB, 2), plan(4, kGiB, 2)}, machine()).tensor, 1);
}

TEST(GridChoice, TheLeastWhereNothingFits) {
  const auto choice = choose_grid({plan(1, 400 * kGiB, 1), plan(2, 200 * kGiB, 1)}, machine());
  EXPECT_EQ(choice.tensor, 2);
  EXPECT_THAT(choice.reason, HasSubstr("nothing fits"));
}

TEST(GridChoice, IsStoredForAsManyRanks) {
  const ScratchFolder scratch;
  const RunFolder folder(scratch / "run", {});
  std::filesystem::create_directories(folder.output());
  EXPECT_FALSE(stored_choice(folder, 4));
  store_choice(folder, 4, {2, "why"});
  EXPECT_EQ(stored_choice(folder, 4)->tensor, 2);
  EXPECT_EQ(stored_choice(folder, 4)->reason, "why");
  EXPECT_FALSE(stored_choice(folder, 8));
}

}  // namespace
}  // namespace layalign::trainer
