#include "trainer/replica_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dist/error.h"
#include "tests/mpi/test_process.h"

namespace layalign::trainer {
namespace {

/// The same numbers on every rank.
at::Tensor trained_weights() { return at::linspace(-1, 1, 1000, at::kFloat); }

void flip_bit(at::Tensor& weights, int64_t index, int bit) { weights.view(at::kInt)[index].bitwise_xor_(1 << bit); }

std::string problem_of(const at::Tensor& weights) {
  try {
    require_equal_replicas(weights, *test_process(), /*step=*/7);
  } catch (const dist::CommError& error) {
    return error.what();
  }
  return "";
}

TEST(ReplicaCheck, PassesEqualReplicas) { EXPECT_EQ(problem_of(trained_weights()), ""); }

TEST(ReplicaCheck, NamesTheRankWhoseReplicaHasOneFlippedBit) {
  const int ranks = test_process()->world_size();
  for (int stray = 0; stray < ranks; ++stray) {
    for (const int bit : {0, 22, 31}) {
      auto weights = trained_weights();
      if (test_process()->world_rank() == stray) flip_bit(weights, 100 * stray + bit, bit);
      const std::string problem = problem_of(weights);
      if (ranks == 1) {
        EXPECT_EQ(problem, "");  // its own replica is the only one
        continue;
      }
      // Of two ranks either may be right: the second is named.
      const int named = ranks == 2 ? 1 : stray;
      EXPECT_THAT(problem, testing::AllOf(testing::StartsWith("step 7: "),
                                          testing::HasSubstr("of rank " + std::to_string(named) + " (" + test_process()->host())));
    }
  }
}

TEST(ReplicaCheck, NamesAllRanksThatDiffer) {
  if (test_process()->world_size() < 4) {
    EXPECT_EQ(problem_of(trained_weights()), "");
    return;
  }
  auto weights = trained_weights();
  if (test_process()->world_rank() % 2 == 1) flip_bit(weights, test_process()->world_rank(), 3);
  const std::string problem = problem_of(weights);
  EXPECT_THAT(problem, testing::HasSubstr("of rank 1 ("));
  EXPECT_THAT(problem, testing::HasSubstr(", 3 ("));
}

}  // namespace
}  // namespace layalign::trainer
