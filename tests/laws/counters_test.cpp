// What a step counts: collectives, products and reads by the host are what the design says, on every grid.
#include <gtest/gtest.h>

#include "tests/mpi/test_process.h"
#include "tests/parity/golden.h"

namespace layalign::test {
namespace {

using model::Part;
using model::Recompute;

/// Grids of all ranks, by their tensor-parallel size: 1, 2 and 4, where the heads of the model can be divided so.
std::vector<dist::ProcessGrid> grids(const Golden& golden) {
  const auto llm = model::LlmConfig::read(golden.llm_folder);
  std::vector<dist::ProcessGrid> all;
  for (int tp = 1; tp <= test_process()->world_size(); tp *= 2) {
    if (llm.heads % tp != 0 || (llm.kv_heads % tp != 0 && tp % llm.kv_heads != 0)) continue;
    all.push_back(dist::make_grid(test_process(), tp, "cpu", "mpi"));
  }
  return all;
}

trainer::StepResult counted_step(const Golden& golden, const dist::ProcessGrid& grid, int64_t micro_batch,
                                 Recompute recompute = Recompute::kNone, at::ScalarType type = at::kFloat) {
  const System system(golden, grid, recompute, type);
  trainer::TrainStep step(grid, {.eps = golden.eps}, system.models());
  step.count_executed(true);
  return step.run(golden.samples, micro_batch, golden.lr, 1);
}

TEST(Counters, CollectivesOfAStep) {
  const Golden golden("mt5-llama-gqa-stage1-Linear");
  for (const auto& grid : grids(golden)) {
    for (const auto recompute : {Recompute::kNone, Recompute::kFull}) {
      for (int64_t micro_batch : {1, 2, 6}) {
        const auto counters = counted_step(golden, grid, micro_batch, recompute).counters;
        const auto what = "tp " + std::to_string(grid.tp_size) + ", micro batch " + std::to_string(micro_batch);
        const int64_t layers = model::LlmConfig::read(golden.llm_folder).layers;
        const int64_t a_layer =
            recompute == Recompute::kFull ? 6 : 4;                   // two forward, two backward, two when made again
        const int64_t a_micro_batch = 1 + a_layer * layers + 2 + 1;  // embedding, layers, loss, its gradient
        const int64_t m = counters.micro_batches;
        EXPECT_GT(m, 0) << what;
        EXPECT_EQ(counters.tp.all_reduces, grid.tp_size > 1 ? m * a_micro_batch : 0) << what;
        EXPECT_EQ(counters.tp.all_gathers, grid.tp_size > 1 ? m : 0) << what << ": the encoder's states";
        EXPECT_EQ(counters.world.all_reduces, grid.world_size > 1 ? 1 : 0) << what << ": the flat gradient";
        EXPECT_EQ(counters.world.all_gathers, 0) << what;
        const System system(golden, grid);
        const int64_t values = system.trainables->gradients().numel();
        EXPECT_EQ(counters.world.bytes, grid.world_size > 1 ? 4 * values : 0) << what;
      }
    }
  }
}

void expect_formula(const trainer::StepCounters& counters, const std::string& what) {
  ASSERT_TRUE(counters.executed) << what;
  const auto& executed = counters.executed->flops;
  for (size_t part = 0; part < model::kParts; ++part) {
    for (const bool backward : {false, true}) {
      const auto side = [&](const model::Flops& flops) { return (backward ? flops.backward : flops.forward)[part]; };
      const auto where = what + ": " + model::kPartNames[part] + (backward ? " backward" : " forward");
      const auto expected = static_cast<double>(side(counters.flops));
      EXPECT_NEAR(static_cast<double>(side(executed)), expected, 0.02 * expected)
          << where;  // what the limit allows
    }
  }
}

class CountersOf : public testing::TestWithParam<const char*> {};

TEST_P(CountersOf, ExecutedWorkIsThatOfTheFormulas) {
  const Golden golden(GetParam());
  for (const auto& grid : grids(golden)) {
    for (const auto recompute : {Recompute::kNone, Recompute::kFull}) {
      for (int64_t micro_batch : {2, 6}) {
        const auto counters = counted_step(golden, grid, micro_batch, recompute).counters;
        expect_formula(counters, "tp " + std::to_string(grid.tp_size) + ", micro batch " + std::to_string(micro_batch) +
                                     (recompute == Recompute::kFull ? ", recomputed" : ""));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, CountersOf,
                         testing::Values("mt5-llama-gqa-stage1-Linear", "mt5-mistral-stage2-MLP",
                                         "mt5-llama-stage2-some-layers", "mt5-llama-gqa-stage1-langbridge",
                                         "mt5-mistral-stage1-no_mapping", "mt5-mistral-stage2-dynamic_gate",
                                         "mt5-qwen2-tied-stage2-uniform_mean", "mt5-qwen2-tied-stage2-mindmerger",
                                         "mt5-qwen3-stage2-Linear", "t5-llama-bias-stage2-MLP",
                                         "m2m-qwen2-tied-stage1-Linear", "bert-qwen2-tied-stage1-MLP",
                                         "gpt2-qwen2-tied-stage2-Linear", "qwen3-qwen2-tied-stage2-Linear",
                                         "xglm-qwen2-tied-stage2-MLP"));

TEST(Counters, TheHostWaitsOnceAStep) {
  const Golden golden("mt5-llama-gqa-stage1-Linear");
  for (const auto& grid : grids(golden)) {
    for (int64_t micro_batch : {1, 6}) {
      const auto counters = counted_step(golden, grid, micro_batch).counters;
      EXPECT_EQ(counters.executed->host_syncs, 1) << "tp " << grid.tp_size << ", micro batch " << micro_batch;
      EXPECT_GT(counters.executed->operators, 0);
    }
  }
}

TEST(Counters, TokensAndTheirShares) {
  const Golden golden("mt5-llama-gqa-stage1-Linear");
  int64_t llm = 0, source = 0, label = 0;
  for (const auto& sample : golden.samples) {
    llm += data::llm_tokens(sample);
    source += static_cast<int64_t>(sample.source.size());
    label += static_cast<int64_t>(sample.target.size());
  }
  for (const auto& grid : grids(golden)) {
    const auto result = counted_step(golden, grid, 2);
    const auto& counters = result.counters;
    EXPECT_EQ(result.llm_tokens, llm);
    EXPECT_EQ(counters.encoder_tokens, source);
    EXPECT_DOUBLE_EQ(counters.label_ratio, static_cast<double>(label) / static_cast<double>(llm));
    EXPECT_EQ(counters.padding_rows, 0);
    if (grid.dp_size == 1) {
      EXPECT_EQ(counters.llm_rows, llm);
      EXPECT_EQ(counters.rank_imbalance, 1);
    } else {
      EXPECT_GE(counters.rank_imbalance, 1);
      EXPECT_LT(counters.rank_imbalance, 2);
    }
  }
}

TEST(Counters, CountingChangesNoBit) {
  const Golden golden("mt5-llama-stage2-Linear");
  const auto grid = grids(golden).back();
  const auto masters = [&](bool counted) {
    const System system(golden, grid);
    trainer::TrainStep step(grid, {.eps = golden.eps}, system.models());
    step.count_executed(counted);
    for (int64_t i = 1; i <= 3; ++i) step.run(golden.samples, 2, golden.lr, i);
    return system.trainables->masters().clone();
  };
  EXPECT_TRUE(masters(true).equal(masters(false)));
}

}  // namespace
}  // namespace layalign::test
