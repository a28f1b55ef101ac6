// What tensors hold at most in a step against the formulas by which --dry-run plans.
#include <gtest/gtest.h>

#include "dist/tensor_memory.h"
#include "model/memory_formula.h"
#include "tests/mpi/test_process.h"
#include "tests/parity/golden.h"

namespace layalign::test {
namespace {

struct Case {
  const char* golden;
  model::Recompute recompute;
  at::ScalarType type;
};

class Memory : public testing::TestWithParam<Case> {};

/// Enough samples that activations outweigh the tiny models.
std::vector<data::Sample> many_samples(const Golden& golden) {
  std::vector<data::Sample> samples;
  for (int i = 0; i < 40; ++i) samples.insert(samples.end(), golden.samples.begin(), golden.samples.end());
  return samples;
}

/// The most bytes of this rank's tensors in the second step.
int64_t measured_peak(const Golden& golden, const Case& param, const dist::ProcessGrid& grid) {
  const int64_t before = dist::cpu_tensor_bytes();
  const System system(golden, grid, param.recompute, param.type);
  trainer::TrainStep step(grid, {.eps = golden.eps}, system.models());
  const auto samples = many_samples(golden);
  const auto micro_batch = static_cast<int64_t>(samples.size());
  step.run(samples, micro_batch, golden.lr, 1);
  dist::reset_peak_cpu_tensor_bytes();
  step.run(samples, micro_batch, golden.lr, 2);
  return dist::peak_tensor_bytes(at::kCPU) - before;
}

int64_t planned_peak(const Golden& golden, const Case& param, const dist::ProcessGrid& grid) {
  const System system(golden, grid, param.recompute, param.type);
  const model::WorkSizes sizes{.llm = system.llm->config(),
                               .encoder = system.encoder->info(),
                               .trainables = system.trainables->sizes(),
                               .language_layers = golden.language_layers,
                               .recompute = param.recompute,
                               .tp = grid.tp_size};
  const int64_t e = param.type == at::kFloat ? 4 : 2;
  std::vector<model::SampleTokens> tokens;
  for (const auto& sample : many_samples(golden)) {
    tokens.push_back({static_cast<int64_t>(sample.source.size()), data::llm_tokens(sample),
                      static_cast<int64_t>(sample.target.size())});
  }
  const int64_t weights =
      (sizes.llm.parameters(grid.tp_size) + sizes.encoder.parameters) * e + 16 * system.trainables->size();
  return weights + model::micro_batch_memory(sizes, e, tokens).peak();
}

TEST_P(Memory, IsWithinATenthOfThePlan) {
  dist::count_cpu_tensors();
  const Golden golden(GetParam().golden);
  const auto grid = dist::make_grid(test_process(), test_process()->world_size(), "cpu", "mpi");
  const auto measured = static_cast<double>(measured_peak(golden, GetParam(), grid));
  const auto planned = static_cast<double>(planned_peak(golden, GetParam(), grid));
  EXPECT_NEAR(planned / measured, 1.0, 0.1)
      << "planned " << planned << ", measured " << measured << ", tp " << grid.tp_size;
}

using model::Recompute;
INSTANTIATE_TEST_SUITE_P(Cases, Memory,
                         testing::Values(Case{"mt5-llama-stage2-Linear", Recompute::kNone, at::kFloat},
                                         Case{"mt5-llama-stage1-Linear", Recompute::kNone, at::kFloat},
                                         Case{"mt5-llama-gqa-stage1-Linear", Recompute::kNone, at::kFloat},
                                         Case{"mt5-mistral-stage2-MLP", Recompute::kNone, at::kFloat},
                                         Case{"mt5-qwen3-stage2-Linear", Recompute::kNone, at::kFloat},
                                         Case{"mt5-mistral-stage2-dynamic_gate", Recompute::kNone, at::kFloat},
                                         Case{"mt5-llama-stage2-Linear", Recompute::kFull, at::kFloat},
                                         Case{"mt5-mistral-stage2-MLP", Recompute::kFull, at::kFloat},
                                         Case{"mt5-llama-stage2-Linear", Recompute::kNone, at::kBFloat16}));

}  // namespace
}  // namespace layalign::test
