#include "model/work_formula.h"

#include <algorithm>

#include "dist/tensor_parallel.h"

// Letters as in docs/performance.md: T, S, N tokens of the LLM, of the encoder, labels; D, De widths of LLM and
// encoder.
namespace layalign::model {
namespace {

struct LayerShape {
  int64_t q, kv, F;  // this rank's columns: query heads, key-value heads, intermediate width
};

LayerShape layer_shape(const LlmConfig& llm, int tp) {
  return {llm.heads / tp * llm.head_dim, std::max<int64_t>(1, llm.kv_heads / tp) * llm.head_dim,
          dist::shard_of(llm.intermediate_size, 0, tp).size};
}

/// Of a micro-batch, what enters the formulas.
struct Totals {
  int64_t T = 0, S = 0, N = 0;
  int64_t causal_pairs = 0;  // sum of T_i (T_i + 1) / 2
  int64_t cross_pairs = 0;   // sum of T_i S_i
};

Totals totals(std::span<const SampleTokens> samples) {
  Totals sum;
  for (const SampleTokens& sample : samples) {
    sum.T += sample.llm;
    sum.S += sample.source;
    sum.N += sample.label;
    sum.causal_pairs += sample.llm * (sample.llm + 1) / 2;
    sum.cross_pairs += sample.llm * sample.source;
  }
  return sum;
}

/// A product with its gradients, of which attention's are 2.5 times as much.
struct Work {
  int64_t forward = 0, backward = 0;
};

/// Adds `times` forward runs in backward: what is computed again.
void add(Flops* flops, Part part, const Work& work, int64_t again) {
  flops->forward[static_cast<size_t>(part)] += work.forward;
  flops->backward[static_cast<size_t>(part)] += work.backward + again * work.forward;
}

/// A layer of the LLM: its products and self-attention. In the first layer that backward reaches through its fusion
/// alone, only o_proj and the MLP have a gradient.
Work layer_work(const WorkSizes& sizes, const Totals& sum, bool has_gradient, bool input_has_gradient) {
  const auto [q, kv, F] = layer_shape(sizes.llm, sizes.tp);
  const int64_t D = sizes.llm.hidden_size;
  const int64_t qkv = 2 * sum.T * D * (q + 2 * kv), rest = 2 * sum.T * D * (q + 3 * F),
                attention = 4 * q * sum.causal_pairs;
  Work work{.forward = qkv + rest + attention};
  if (input_has_gradient) {
    work.backward = qkv + rest + attention * 5 / 2;
  } else if (has_gradient) {
    work.backward = rest;
  }
  return work;
}

Work mapping_work(const TrainableSizes& sizes, int64_t S) {
  const int64_t De = sizes.encoder_width, D = sizes.llm_width;
  if (sizes.mapping == MappingKind::kNone) return {};
  if (sizes.mapping == MappingKind::kLinear) return {2 * S * De * D, 2 * S * De * D};  // no dx: the encoder is frozen
  const int64_t first = 2 * S * De * 2 * De, second = 2 * S * 2 * De * D;
  return {first + second, first + 2 * second};
}

/// The states of one adapted layer.
Work aligner_work(const TrainableSizes& sizes, int64_t S) {
  const int64_t De = sizes.encoder_width, D = sizes.llm_width;
  const bool mixes = sizes.aligner == AlignerKind::kLayerWise;
  const int64_t rows = mixes ? 2 * S : S;
  const int64_t fc1 = mixes ? 2 * 2 * sizes.encoder_layers * S * De : 0;
  const int64_t fc2 = 2 * rows * De * D, fc3 = sizes.mlp ? 2 * rows * D * D : 0;
  return {fc1 + fc2 + fc3, fc1 + (mixes ? 2 : 1) * fc2 + 2 * fc3};
}

/// Keys and values of one adapted layer.
Work projection_work(const WorkSizes& sizes, int64_t S) {
  const int64_t both = 2 * 2 * S * sizes.llm.hidden_size * layer_shape(sizes.llm, sizes.tp).kv;
  return {both, both};
}

/// Attention to them, and a dynamic gate.
Work cross_work(const WorkSizes& sizes, const Totals& sum) {
  const int64_t attention = 4 * layer_shape(sizes.llm, sizes.tp).q * sum.cross_pairs;
  const int64_t gate = sizes.trainables.gate == GateKind::kDynamic ? 2 * sum.T * sizes.llm.hidden_size : 0;
  return {attention + gate, attention * 5 / 2 + gate};
}

}  // namespace

int64_t layer_matrix_parameters(const LlmConfig& llm, int tp) {
  const auto [q, kv, F] = layer_shape(llm, tp);
  return llm.hidden_size * (2 * q + 2 * kv + 3 * F);
}

int64_t mfu_flops_per_token(const LlmConfig& llm) { return 4 * llm.layers * layer_matrix_parameters(llm, 1); }

int64_t encoder_flops(const EncoderInfo& encoder, std::span<const int64_t> source_tokens) {
  int64_t flops = 0;
  for (const int64_t S : source_tokens) {
    const int64_t pairs = encoder.causal ? S * (S + 1) / 2 : S * S;
    flops += 2 * S * encoder.matrix_parameters + 4 * encoder.depth * encoder.attention_width * pairs;
  }
  return flops;
}

Flops micro_batch_flops(const WorkSizes& sizes, std::span<const SampleTokens> samples) {
  const Totals sum = totals(samples);
  Flops flops;
  const int64_t again = sizes.recompute == Recompute::kFull ? 1 : 0;
  bool has_gradient = sizes.trainables.mapping != MappingKind::kNone;  // the LLM's input
  add(&flops, Part::kMapping, mapping_work(sizes.trainables, sum.S), 0);
  for (int64_t layer = 0; layer < sizes.llm.layers; ++layer) {
    const bool input_has_gradient = has_gradient;
    const bool adapted = std::ranges::find(sizes.language_layers, layer) != sizes.language_layers.end();
    has_gradient = has_gradient || adapted;
    add(&flops, Part::kLlm, layer_work(sizes, sum, has_gradient, input_has_gradient), has_gradient ? again : 0);
    if (!adapted) continue;
    add(&flops, Part::kAligner, aligner_work(sizes.trainables, sum.S), 1);  // made again in backward, always
    add(&flops, Part::kFusion, projection_work(sizes, sum.S), 1);
    add(&flops, Part::kFusion, cross_work(sizes, sum), again);
  }
  const int64_t head = 2 * sum.N * sizes.llm.hidden_size * dist::shard_of(sizes.llm.vocabulary_size, 0, sizes.tp).size;
  flops.forward[static_cast<size_t>(Part::kLoss)] = 2 * head;  // its gradient is written in forward
  return flops;
}

}  // namespace layalign::model
