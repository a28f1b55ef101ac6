// Every number of the golden files, at any number of ranks: run with 1, 2, 3 and 4 ranks, all of them tensor parallel, and
// (with 2 and 4) two of them data parallel. A model whose heads the ranks do not divide is left to the other numbers of ranks. Tolerances are those of float32 sums regrouped by the shards; the reference's
// own regrouping moves losses by 3e-7 and gradients by 1e-4 of the largest entry.
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <numeric>

#include "configs/error.h"
#include "data/batch.h"
#include "model/generation.h"
#include "tests/mpi/test_process.h"
#include "tests/parity/golden.h"
#include "trainer/representations.h"

namespace layalign::test {
namespace {

constexpr double kStateTolerance = 1e-4;     // hidden states and logits
constexpr double kLossTolerance = 1e-5;      // relative
constexpr double kGradientTolerance = 2e-4;  // of a tensor's largest entry
constexpr double kLaterLossTolerance = 1e-4; // relative, after AdamW steps, which amplify rounding of small gradients
constexpr double kFinalTolerance = 5e-4;     // of a tensor's largest entry, after five AdamW steps

struct Case {
  std::string golden;
  int dp;
};

class Parity : public testing::TestWithParam<Case> {
 protected:
  Parity() : golden(GetParam().golden), grid(make_grid(GetParam().dp)), system(golden, grid) {}

  static dist::ProcessGrid make_grid(int dp) {
    return dist::make_grid(test_process(), test_process()->world_size() / dp, "cpu", "mpi");
  }

  data::Batch pack(std::span<const data::Sample> samples) const {
    return data::pack(samples, system.llm->config().bos_id, system.layalign->input_form());
  }
  model::EncoderStates encode(const data::Batch& batch) const {
    return model::encode_shared(*system.encoder, batch, system.encoder_layers, grid.tp);
  }

  Golden golden;
  dist::ProcessGrid grid;
  System system;
};

TEST_P(Parity, MeansOfTheEncodersLayersAndOfWhatIsMadeOfThem) {
  std::map<std::string, at::Tensor> found;
  const auto keep = [&](const std::string& layer, const at::Tensor& states_ND) { found[layer] = states_ND; };
  ASSERT_TRUE(trainer::pool_representations(grid, system.models(), golden.samples, 2, {}, keep));
  if (grid.world_rank != 0) return;
  const auto layers = trainer::represented_layers(system.models());
  ASSERT_EQ(found.size(), layers.size());
  at::NoGradGuard no_grad;
  for (size_t i = 0; i < golden.samples.size(); ++i) {
    const std::string name = "sample" + std::to_string(i);
    const auto row = static_cast<int64_t>(i);
    const auto expected = golden.tensor(name + ".encoder_layers").to(at::kDouble).mean(1);
    for (size_t layer = 0; layer < system.encoder_layers.size(); ++layer) {
      const auto mean = found.at("encoder." + std::to_string(system.encoder_layers[layer]))[row];
      EXPECT_LT(relative_error(mean, expected[static_cast<int64_t>(layer)]), kStateTolerance) << name << " " << layer;
    }
    if (found.contains("mapped")) {
      const auto mapped = system.trainables->mapping(golden.tensor(name + ".encoder_last"));
      EXPECT_LT(relative_error(found.at("mapped")[row], mapped.to(at::kDouble).mean(0)), kStateTolerance) << name;
    }
  }
}

TEST_P(Parity, EncoderStatesAndLogitsOfEachSampleAloneAndInABatch) {
  const auto batch = pack(golden.samples);
  const auto states = encode(batch);
  at::NoGradGuard no_grad;
  const auto logits = system.layalign->label_logits(batch, states);
  for (size_t i = 0; i < golden.samples.size(); ++i) {
    const std::string name = "sample" + std::to_string(i);
    const auto first = batch.source_offsets[i], count = batch.source_offsets[i + 1] - first;
    const auto layers = golden.tensor(name + ".encoder_layers"), last = golden.tensor(name + ".encoder_last");
    if (!system.encoder_layers.empty()) {
      for (int64_t layer = 0; layer < layers.size(0); ++layer) {
        EXPECT_LT(relative_error(states.layers_ESD[layer].narrow(0, first, count), layers[layer]), kStateTolerance) << layer;
      }
    }
    EXPECT_LT((states.last_SD.narrow(0, first, count) - last).abs().max().item<double>(), kStateTolerance);
    const auto expected = golden.tensor(name + ".logits");
    const auto in_batch = logits.narrow(0, batch.label_offsets[i], batch.label_offsets[i + 1] - batch.label_offsets[i]);
    EXPECT_LT(relative_error(in_batch, expected), kStateTolerance) << name;

    const auto alone = pack({&golden.samples[i], 1});
    const auto alone_logits = system.layalign->label_logits(alone, encode(alone));
    EXPECT_LT(relative_error(alone_logits, expected), kStateTolerance) << name;
    const double loss = system.layalign->label_losses(alone, encode(alone)).sum().item<double>();
    EXPECT_NEAR(loss, golden.tensor(name + ".loss_sum").item<double>(), kLossTolerance * loss) << name;
  }
}

/// The golden ids of each sample, which stop at eos or after 16 tokens.
std::vector<std::vector<int64_t>> golden_ids(const Golden& golden) {
  std::vector<std::vector<int64_t>> ids;
  for (size_t i = 0; i < golden.samples.size(); ++i) {
    const auto tensor = golden.tensor("sample" + std::to_string(i) + ".generate");
    ids.emplace_back(tensor.const_data_ptr<int64_t>(), tensor.const_data_ptr<int64_t>() + tensor.numel());
  }
  return ids;
}

TEST_P(Parity, GreedyIdsInAnyBatch) {
  const model::Generator generator(*system.layalign, *system.encoder, system.encoder_layers, grid.tp, grid.device);
  const auto expected = golden_ids(golden);
  std::vector<int64_t> all(golden.samples.size());
  std::iota(all.begin(), all.end(), 0);
  for (int64_t batch : {1, 3, 8}) {  // alone; slots that are taken by the next sample; all at once
    std::vector<std::vector<int64_t>> got(all.size());
    generator.run(golden.samples, all, {.max_new_tokens = 16, .batch = batch},
                  [&](int64_t index, const model::Continuation& made) { got[index] = made.ids; });
    EXPECT_EQ(got, expected) << "batch " << batch;
  }
}

TEST_P(Parity, GreedyIdsWithoutACache) {
  at::NoGradGuard no_grad;
  const auto expected = golden_ids(golden);
  const auto eos = system.llm->config().eos_id;
  for (size_t i = 0; i < 2; ++i) {
    std::vector<int64_t> ids;
    while (ids.size() < 16 && (ids.empty() || ids.back() != eos)) {
      auto sample = golden.samples[i];
      sample.target = ids;
      sample.target.push_back(eos);  // a label, not an input: its row is the one to read
      const auto batch = pack({&sample, 1});
      const auto logits = system.layalign->label_logits(batch, encode(batch));
      ids.push_back(logits[-1].argmax().item<int64_t>());
    }
    EXPECT_EQ(ids, expected[i]) << "sample " << i;
  }
}

TEST_P(Parity, EveryGradient) {
  trainer::TrainStep step(grid, {.eps = golden.eps, .clip_norm = 1e30}, system.models());
  step.run(golden.samples, 2, /*lr=*/0.0, 1);
  const auto& layout = system.trainables->layout();
  int64_t offset = 0;
  for (const auto& [name, shape] : layout) {
    const auto expected = golden.tensor("grad." + name);
    const auto got = system.trainables->gradients().narrow(0, offset, expected.numel()).view(shape);
    EXPECT_LT(relative_error(got, expected), kGradientTolerance) << name;
    offset += expected.numel();
  }
}

TEST_P(Parity, FiveAdamWSteps) {
  trainer::TrainStep step(grid, {.eps = golden.eps}, system.models());
  const auto losses = golden.tensor("trajectory.loss"), norms = golden.tensor("trajectory.grad_norm");
  for (int64_t i = 0; i < losses.numel(); ++i) {
    const auto result = step.run(golden.samples, 4, golden.lr, i + 1);
    const double expected = losses[i].item<double>();
    EXPECT_NEAR(result.loss, expected, (i == 0 ? kLossTolerance : kLaterLossTolerance) * expected) << "step " << i;
    const double norm = norms[i].item<double>();
    EXPECT_NEAR(result.grad_norm, norm, (i == 0 ? kGradientTolerance : 10 * kGradientTolerance) * norm) << "step " << i;
  }
  int64_t offset = 0;
  for (const auto& [name, shape] : system.trainables->layout()) {
    const auto expected = golden.tensor("final." + name);
    const auto got = system.trainables->masters().narrow(0, offset, expected.numel()).view(shape);
    EXPECT_LT(relative_error(got, expected), kFinalTolerance) << name;
    offset += expected.numel();
  }
}

const char* const kFiles[] = {
    "mt5-llama-stage1-Linear",       "mt5-llama-stage2-Linear",  "mt5-llama-stage2-some-layers",
    "mt5-llama-gqa-stage1-Linear",   "mt5-mistral-stage2-MLP",   "mt5-qwen2-stage2-Linear",
    "t5-llama-bias-stage2-MLP",           // T5 v1.0; biases everywhere, linear RoPE, odd vocabulary and widths, 6 heads
    "mt5-qwen3-stage2-Linear",            // norms of the heads
    "t5-qwen3-tied-stage1-MLP",           // tied, layers out of order, config.json of transformers 4
    "mt5-mistral-stage2-dynamic_gate",    // the ablations
    "mt5-qwen2-tied-stage2-uniform_mean", "mt5-qwen2-tied-stage2-mindmerger", "mt5-llama-gqa-stage1-langbridge",
    "mt5-mistral-stage1-no_mapping",
    "nllb-llama-gqa-stage2-MLP",          // the other encoders
    "xlmr-mistral-stage1-Linear",
    "m2m-qwen2-tied-stage1-Linear",       // odd width, positions beyond the table, padding among the tokens
    "xglm-qwen2-tied-stage2-MLP",
    "gpt2-qwen2-tied-stage2-Linear",      // scores scaled by the layer
    "bert-qwen2-tied-stage1-MLP",         // norms named gamma and beta
    "roberta-qwen2-tied-stage1-Linear",   // no task prefix
    "qwen3-qwen2-tied-stage2-Linear",     // decoder-only LLMs as encoders
    "mistral-qwen2-tied-stage1-Linear",
    "mt5silu-qwen2-tied-stage1-Linear"};  // tied embeddings, few layers out of order, config.json of transformers 4

bool runs_at(const std::string& golden, int tp) {
  const Golden file(golden);
  try {
    model::LlmConfig::read(file.llm_folder).check_tensor_parallel(file.llm_folder, tp);
  } catch (const configs::ConfigError&) {
    return false;
  }
  return true;
}

/// The cases for the number of ranks that mpirun has started.
std::vector<Case> cases() {
  const char* size = std::getenv("OMPI_COMM_WORLD_SIZE");
  const int ranks = size ? std::atoi(size) : 1;
  std::vector<Case> chosen;
  for (const char* name : kFiles) {
    for (int dp : {1, 2}) {
      if (ranks % dp == 0 && runs_at(name, ranks / dp)) chosen.push_back({name, dp});
    }
  }
  return chosen;
}

INSTANTIATE_TEST_SUITE_P(Golden, Parity, testing::ValuesIn(cases()), [](const auto& info) {
  std::string name = info.param.golden + "_dp" + std::to_string(info.param.dp);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace layalign::test
