// The laws: what must not depend on how the work is cut. Run with 1, 2 and 4 ranks; every division of the ranks into
// tensor and data parallel groups is tried and compared with the golden trajectory, so all grids equal one another.
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "checkpoints_tools/hash.h"
#include "data/batch.h"
#include "tests/mpi/test_process.h"
#include "tests/parity/golden.h"
#include "trainer/representations.h"

namespace layalign::test {
namespace {

constexpr double kFirstLossTolerance = 1e-5;  // relative: sums regrouped
constexpr double kLaterLossTolerance = 1e-4;  // relative: AdamW amplifies the rounding of small gradients

const char* const kGolden = "mt5-llama-gqa-stage1-Linear";

std::vector<int> tensor_sizes() {
  std::vector<int> sizes;
  for (int tp = 1; tp <= test_process()->world_size(); tp *= 2) sizes.push_back(tp);
  return sizes;
}

dist::ProcessGrid grid_of(int tp) { return dist::make_grid(test_process(), tp, "cpu", "mpi"); }

std::vector<double> losses_of(const Golden& golden, const dist::ProcessGrid& grid, int64_t micro_batch, int64_t steps,
                              model::Recompute recompute = model::Recompute::kNone) {
  System system(golden, grid, recompute);
  trainer::TrainStep step(grid, {.eps = golden.eps}, system.models());
  std::vector<double> losses;
  for (int64_t i = 0; i < steps; ++i) losses.push_back(step.run(golden.samples, micro_batch, golden.lr, i + 1).loss);
  return losses;
}

void expect_golden(const Golden& golden, const std::vector<double>& losses, const std::string& what) {
  const auto expected = golden.tensor("trajectory.loss");
  for (size_t i = 0; i < losses.size(); ++i) {
    const double value = expected[static_cast<int64_t>(i)].item<double>();
    EXPECT_NEAR(losses[i], value, (i == 0 ? kFirstLossTolerance : kLaterLossTolerance) * value) << what << ", step " << i;
  }
}

TEST(Laws, SameTrajectoryOnEveryGridAndMicroBatch) {
  const Golden golden(kGolden);
  for (int tp : tensor_sizes()) {
    for (int64_t micro_batch : {1, 2, 3, 6}) {
      const auto what = "tp " + std::to_string(tp) + ", micro batch " + std::to_string(micro_batch);
      expect_golden(golden, losses_of(golden, grid_of(tp), micro_batch, 5), what);
    }
  }
}

TEST(Laws, RecomputationChangesNothing) {
  const Golden golden(kGolden);
  for (int tp : tensor_sizes()) {
    const auto kept = losses_of(golden, grid_of(tp), 3, 5);
    const auto recomputed = losses_of(golden, grid_of(tp), 3, 5, model::Recompute::kFull);
    EXPECT_EQ(kept, recomputed) << "tp " << tp;  // the same products on the same operands: the same bits
  }
}

TEST(Laws, ASampleIsIndependentOfItsNeighbours) {
  const Golden golden("mt5-llama-stage2-Linear");
  const auto grid = grid_of(test_process()->world_size());
  System system(golden, grid);
  at::NoGradGuard no_grad;
  const auto losses = [&](const std::vector<data::Sample>& samples) {
    const auto batch = data::pack(samples, system.llm->config().bos_id);
    const auto states = model::encode_shared(*system.encoder, batch, system.encoder_layers, grid.tp);
    return system.layalign->label_losses(batch, states);
  };
  const auto& samples = golden.samples;
  const int64_t labels = static_cast<int64_t>(samples[0].target.size());
  const auto alone = losses({samples[0]});
  for (const auto& batch : {std::vector{samples[0], samples[1]}, std::vector{samples[0], samples[3], samples[2], samples[5]}}) {
    // Another shape of the products regroups float32 sums, nothing else.
    EXPECT_LT(relative_error(losses(batch).narrow(0, 0, labels), alone), 1e-5);
  }
  const auto last = losses({samples[4], samples[1], samples[0]});
  EXPECT_LT(relative_error(last.narrow(0, last.numel() - labels, labels), alone), 1e-5);
}

TEST(Laws, MeanStatesAreThoseOfOneRankAndOneSampleAtATime) {
  const Golden golden("mt5-llama-gqa-stage1-Linear");
  const auto states_of = [&](const dist::ProcessGrid& grid, int64_t batch) {
    const System system(golden, grid);
    std::vector<std::pair<std::string, at::Tensor>> found;
    const auto keep = [&](const std::string& layer, const at::Tensor& states_ND) { found.emplace_back(layer, states_ND); };
    EXPECT_TRUE(trainer::pool_representations(grid, system.models(), golden.samples, batch, {}, keep));
    return found;
  };
  const auto expected = states_of(dist::ProcessGrid(), 1);
  EXPECT_EQ(expected.front().first, "encoder.0");
  EXPECT_EQ(expected.back().first, "llm." + std::to_string(System(golden, dist::ProcessGrid()).llm->layers()));
  for (int tp : tensor_sizes()) {
    for (const int64_t batch : {1, 2, 6}) {
      const auto grid = grid_of(tp);
      const auto found = states_of(grid, batch);
      if (grid.world_rank != 0) continue;
      ASSERT_EQ(found.size(), expected.size());
      for (size_t layer = 0; layer < found.size(); ++layer) {
        EXPECT_EQ(found[layer].first, expected[layer].first);
        // Another shape of the products and another order of the ranks' sums regroup float32 sums, nothing else.
        EXPECT_LT(relative_error(found[layer].second, expected[layer].second), 1e-5)
            << found[layer].first << ", tp " << tp << ", batch " << batch;
      }
    }
  }
}

TEST(Laws, ReplicasAreIdenticalAfterTwentySteps) {
  const Golden golden("mt5-mistral-stage2-MLP");
  for (int tp : tensor_sizes()) {
    const auto grid = grid_of(tp);
    System system(golden, grid);
    trainer::TrainStep step(grid, {.eps = golden.eps}, system.models());
    for (int64_t i = 0; i < 20; ++i) step.run(golden.samples, 2, golden.lr, i + 1);
    const auto& masters = system.trainables->masters();
    const auto hash = checkpoints_tools::xxh3_hex({static_cast<const std::byte*>(masters.const_data_ptr()), masters.nbytes()});
    for (const auto& other : test_process()->all_gather(hash)) EXPECT_EQ(other, hash) << "tp " << tp;
  }
}

TEST(Laws, ARankWithoutSamplesGoesStraightToTheReduction) {
  const Golden golden(kGolden);
  const std::vector<data::Sample> one = {golden.samples[0]};
  const auto gradient_of = [&](const dist::ProcessGrid& grid, double* loss) {
    System system(golden, grid);
    *loss = trainer::TrainStep(grid, {.eps = golden.eps, .clip_norm = 1e30}, system.models()).run(one, 1, golden.lr, 1).loss;
    return system.trainables->gradients().narrow(0, 0, system.trainables->size()).clone();
  };
  double expected_loss = 0;
  const auto expected = gradient_of(dist::ProcessGrid(), &expected_loss);  // each rank by itself
  for (int tp : tensor_sizes()) {
    double loss = 0;
    EXPECT_LT(relative_error(gradient_of(grid_of(tp), &loss), expected), 2e-4) << "tp " << tp;  // float32 sums regrouped
    EXPECT_NEAR(loss, expected_loss, kFirstLossTolerance * expected_loss) << "tp " << tp;
  }
}

TEST(Laws, MicroBatchNormalisationIsTheMeanOfMicroBatchMeans) {
  const Golden golden(kGolden);
  const auto grid = grid_of(1);
  System system(golden, grid);
  const auto gradient = [&](const std::string& normalization, std::vector<data::Sample> samples, int64_t micro_batch) {
    configs::OptimizerConfig config{.clip_norm = 1e30, .loss_normalization = normalization};
    trainer::TrainStep(grid, config, system.models()).run(samples, micro_batch, 0.0, 1);
    return system.trainables->gradients().narrow(0, 0, system.trainables->size()).clone();
  };
  const auto& a = golden.samples[0];
  const auto& b = golden.samples[1];
  ASSERT_NE(a.target.size(), b.target.size());
  const auto expected = (gradient("tokens", {a}, 1) + gradient("tokens", {b}, 1)) / 2;
  EXPECT_LT(relative_error(gradient("micro_batch", {a, b}, 1), expected), 1e-5);  // float32 sums
}

TEST(Laws, Bfloat16FollowsFloat32) {
  const Golden golden("mt5-qwen2-stage2-Linear");
  const auto grid = grid_of(test_process()->world_size());
  System system(golden, grid, model::Recompute::kNone, at::kBFloat16);
  trainer::TrainStep step(grid, {.eps = golden.eps}, system.models());
  const auto expected = golden.tensor("trajectory.loss");
  for (int64_t i = 0; i < expected.numel(); ++i) {
    // bfloat16 keeps 8 bits; a loss is a mean of logs of sums over some hundred such products.
    EXPECT_NEAR(step.run(golden.samples, 3, golden.lr, i + 1).loss, expected[i].item<double>(), 0.02 * expected[i].item<double>());
  }
  EXPECT_EQ(system.trainables->masters().scalar_type(), at::kFloat);
  EXPECT_EQ(system.trainables->gradients().scalar_type(), at::kFloat);
}

}  // namespace
}  // namespace layalign::test
