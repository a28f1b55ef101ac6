// Each tensor-parallel layer of the LLM against the same layer unsharded, forward and every gradient.
#include <gtest/gtest.h>

#include "dist/process_grid.h"
#include "model/attention.h"
#include "model/llm.h"
#include "model/vocabulary_parallel.h"
#include "tests/mpi/test_process.h"

namespace layalign::model {
namespace {

constexpr double kTolerance = 1e-5;  // float32 sums regrouped by the shards, relative to the largest entry

dist::ProcessGrid grid() { return dist::make_grid(test_process(), test_process()->world_size(), "cpu", "mpi"); }

void expect_close(const at::Tensor& got, const at::Tensor& expected, const std::string& what, double tolerance = kTolerance) {
  EXPECT_LT((got - expected).abs().max().item<double>(), tolerance * expected.abs().max().item<double>()) << what;
}

/// A model whose heads this number of ranks divides: 6 heads for 3 ranks, 4 heads otherwise.
std::string folder() {
  return std::string(LAYALIGN_TEST_DATA "/golden/models/") + (test_process()->world_size() == 3 ? "llama-bias" : "mistral");
}

at::Tensor random(at::IntArrayRef shape, int seed) {
  return at::randn(shape, at::detail::createCPUGenerator(seed));
}

struct LayerRun {
  at::Tensor out, dx, dkey_state, dvalue_state;
  std::vector<at::Tensor> dgate;  // of each weight of the gate
};

/// A gate's weights: a scalar; or a vector and a bias (dynamic).
std::vector<at::Tensor> gate_weights(bool dynamic, int64_t width) {
  std::vector<at::Tensor> weights = {at::full({}, 0.7)};
  if (dynamic) weights.push_back(random({width}, 12));
  for (auto& weight : weights) weight.requires_grad_();
  return weights;
}

LayerRun run_layer(const dist::Communicator& tp, bool dynamic) {
  const auto config = LlmConfig::read(folder());
  const Llm llm(folder(), config, tp, at::kCPU, at::kFloat);
  const PackedSequences inputs({0, 5, 12}, at::kCPU), sources({0, 3, 7}, at::kCPU);
  const auto rope = llm.rope(at::cat({at::arange(5), at::arange(7)}));
  const auto x = random({12, config.hidden_size}, 1).requires_grad_();
  const auto weights = gate_weights(dynamic, config.hidden_size);
  const FusionGate gate = dynamic ? FusionGate{{}, weights[1], weights[0]} : FusionGate{weights[0], {}, {}};
  const auto key_state = random({7, config.hidden_size}, 2).requires_grad_();
  const auto value_state = random({7, config.hidden_size}, 3).requires_grad_();
  const auto& layer = llm.layer(1);
  const auto fusion = layer.project(key_state, value_state);
  LayerAttention attention;
  attention.self = [&](const auto& q, const auto& k, const auto& v) {
    return packed_attention(q, k, v, inputs, inputs, /*causal=*/true, layer.scale());
  };
  attention.fusion = [&](const auto& q) {
    return packed_attention(q, fusion.key_SGd, fusion.value_SGd, inputs, sources, /*causal=*/false, layer.scale());
  };
  const auto out = layer.forward(x, rope, attention, gate);
  (out * random(out.sizes(), 4)).sum().backward();
  LayerRun run{out.detach(), x.grad(), key_state.grad(), value_state.grad(), {}};
  if (tp.size() > 1) {
    EXPECT_EQ(tp.traffic().all_reduce.calls, 4) << "two forward, two backward";
  }
  for (const auto& weight : weights) run.dgate.push_back(weight.grad());
  // Those of the fusion are partial sums.
  std::vector<at::Tensor*> partial_sums = {&run.dkey_state, &run.dvalue_state};
  for (auto& gradient : run.dgate) partial_sums.push_back(&gradient);
  for (at::Tensor* partial : partial_sums) {
    *partial = partial->contiguous();
    tp.all_reduce(*partial);
  }
  return run;
}

class DecoderLayerWithFusion : public testing::TestWithParam<bool> {};

TEST_P(DecoderLayerWithFusion, EqualsTheUnshardedOne) {
  const bool dynamic = GetParam();
  const auto whole = run_layer(dist::Communicator(), dynamic);
  const auto sharded = run_layer(grid().tp, dynamic);
  expect_close(sharded.out, whole.out, "output");
  expect_close(sharded.dx, whole.dx, "dx");
  expect_close(sharded.dkey_state, whole.dkey_state, "dK");
  expect_close(sharded.dvalue_state, whole.dvalue_state, "dV");
  ASSERT_EQ(sharded.dgate.size(), whole.dgate.size());
  for (size_t i = 0; i < whole.dgate.size(); ++i) expect_close(sharded.dgate[i], whole.dgate[i], "dgate");
}

INSTANTIATE_TEST_SUITE_P(Gates, DecoderLayerWithFusion, testing::Bool(), [](const auto& info) {
  return info.param ? std::string("Dynamic") : std::string("Scalar");
});

VocabularyShard shard_of_rows(const at::Tensor& weight, const dist::Communicator& tp) {
  const auto shard = dist::shard_of(weight.size(0), tp.rank(), tp.size());
  auto rows = at::zeros({shard.size, weight.size(1)});
  rows.narrow(0, 0, shard.end - shard.begin).copy_(weight.narrow(0, shard.begin, shard.end - shard.begin));
  return {rows, shard};
}

TEST(ModelLayers, VocabularyThatDoesNotDivide) {
  const auto tp = grid().tp;
  for (int64_t vocabulary : {101, 5, 3}) {  // with 4 ranks the last of 3 and 5 rows hold padding alone
    const auto weight = random({vocabulary, 16}, 5);
    const auto labels = at::randint(vocabulary, {40}, at::detail::createCPUGenerator(6), at::kLong);
    const auto head = shard_of_rows(weight, tp);
    expect_close(vocabulary_embedding(labels, head, tp), at::embedding(weight, labels), "embedding");

    const auto hidden = random({40, 16}, 7).requires_grad_(), reference = hidden.detach().clone().requires_grad_();
    const auto row_weights = random({40}, 8);
    const auto expected = at::cross_entropy_loss(at::linear(reference, weight), labels, {}, at::Reduction::None);
    const auto got = vocabulary_cross_entropy(hidden, labels, head, tp);
    expect_close(got.detach(), expected.detach(), "losses");
    (got * row_weights).sum().backward();
    (expected * row_weights).sum().backward();
    expect_close(hidden.grad(), reference.grad(), "dh");
    expect_close(vocabulary_logits(hidden.detach(), head, tp, vocabulary), at::linear(reference, weight).detach(), "logits");
  }
}

TEST(ModelLayers, CrossEntropyInManyChunks) {
  const auto tp = grid().tp;
  const int64_t vocabulary = 1 << 18;  // 128 MiB of logits are 128 rows of it: three chunks on one rank
  // Not narrower: for a few columns some processors' matrix product adds 2^18 terms one by one, and errs by 3e-4.
  const auto weight = random({vocabulary, 16}, 9) / 2;
  const auto labels = at::randint(vocabulary, {300}, at::detail::createCPUGenerator(10), at::kLong);
  const auto hidden = random({300, 16}, 11).requires_grad_();
  const auto reference = hidden.detach().to(at::kDouble).requires_grad_();
  const auto got = vocabulary_cross_entropy(hidden, labels, shard_of_rows(weight, tp), tp);
  const auto logits = at::linear(reference, weight.to(at::kDouble));
  const auto expected = at::cross_entropy_loss(logits, labels, {}, at::Reduction::None);
  got.sum().backward();
  expected.sum().backward();
  // A float32 sum of 2^18 terms errs by about sqrt(2^18) * 2^-24 = 3e-5 of a typical term.
  expect_close(got.detach(), expected.detach(), "losses", 3e-5);
  expect_close(hidden.grad(), reference.grad(), "dh", 3e-5);
}

}  // namespace
}  // namespace layalign::model
