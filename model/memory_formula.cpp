#include "model/memory_formula.h"

#include <algorithm>

#include "dist/tensor_parallel.h"

// Letters as in work_formula.cpp; e bytes a value of the frozen models.
namespace layalign::model {
namespace {

struct Shape {
  int64_t T = 0, S = 0, N = 0;
  int64_t D, De, heads, kv_heads, dh, F, V, e;

  int64_t q() const { return heads * dh; }
  int64_t kv() const { return kv_heads * dh; }
};

Shape shape_of(const WorkSizes& sizes, int64_t type_bytes, std::span<const SampleTokens> samples) {
  const LlmConfig& llm = sizes.llm;
  Shape s{.D = llm.hidden_size,
          .De = sizes.encoder.width,
          .heads = llm.heads / sizes.tp,
          .kv_heads = std::max<int64_t>(1, llm.kv_heads / sizes.tp),
          .dh = llm.head_dim,
          .F = dist::shard_of(llm.intermediate_size, 0, sizes.tp).size,
          .V = dist::shard_of(llm.vocabulary_size, 0, sizes.tp).size,
          .e = type_bytes};
  for (const SampleTokens& sample : samples) s.T += sample.llm, s.S += sample.source, s.N += sample.label;
  return s;
}

/// Kept by a norm: its input, and a number a row.
int64_t norm_bytes(int64_t rows, int64_t width, int64_t e) { return rows * (width * e + 4); }

/// Kept of self-attention and the MLP of a layer.
int64_t layer_bytes(const Shape& s, const LlmConfig& llm) {
  int64_t bytes = 2 * norm_bytes(s.T, s.D, s.e);
  bytes += s.T * (s.q() + 2 * s.kv()) * s.e;  // queries, keys, values
  if (llm.qk_norm) bytes += s.T * (s.q() + s.kv()) * s.e + s.T * (s.heads + s.kv_heads) * 4;  // those before their norms too
  bytes += s.T * (s.q() * s.e + s.heads * 4);  // attention's output and log-sums
  return bytes + s.T * 2 * s.F * s.e;          // gate and up
}

/// Kept of a layer's fusion.
int64_t fusion_bytes(const Shape& s, GateKind gate) {
  int64_t bytes = 2 * s.S * s.kv() * s.e + s.T * (s.q() * s.e + s.heads * 4);
  if (gate == GateKind::kDynamic) bytes += s.T * (s.D + 1) * s.e;  // the gate's input and value
  return bytes;
}

/// Kept of a layer's aligner while the layer is computed again with its gradient.
int64_t aligner_bytes(const Shape& s, const TrainableSizes& sizes) {
  if (sizes.aligner == AlignerKind::kNone) return 0;
  const int64_t rows = sizes.aligner == AlignerKind::kLayerWise ? 2 * s.S : s.S;
  return rows * (s.De + (sizes.mlp ? s.D : 0)) * s.e;
}

int64_t mapping_bytes(const Shape& s, MappingKind mapping) {
  const int64_t masters = s.e == 4 ? 0 : 1;  // a copy of the weights in the frozen models' type
  if (mapping == MappingKind::kMlp) return s.S * 2 * s.De * s.e + masters * (2 * s.De * s.De + 2 * s.De * s.D) * s.e;
  return mapping == MappingKind::kLinear ? masters * s.De * s.D * s.e : 0;
}

}  // namespace

MicroBatchMemory micro_batch_memory(const WorkSizes& sizes, int64_t type_bytes, std::span<const SampleTokens> samples) {
  const Shape s = shape_of(sizes, type_bytes, samples);
  const auto L = sizes.llm.layers, adapted = static_cast<int64_t>(sizes.language_layers.size());
  MicroBatchMemory memory;
  memory.states = s.S * (sizes.trainables.encoder_layers + 1) * s.De * s.e;
  const int64_t layers = L * layer_bytes(s, sizes.llm) + adapted * fusion_bytes(s, sizes.trainables.gate);
  const bool full = sizes.recompute == Recompute::kFull;
  memory.activations = (full ? (L + 1) * s.T * s.D * s.e : layers) + mapping_bytes(s, sizes.trainables.mapping);
  memory.activations += 2 * s.T * s.dh * 4;  // rotary table
  const int64_t chunk = std::min(s.N, std::max<int64_t>(1, (int64_t{128} << 20) / (4 * s.V)));
  const int64_t label_rows = norm_bytes(s.N, s.D, s.e) + s.N * s.D * s.e;  // their norm's input, their gradient
  memory.loss = label_rows + chunk * s.V * (s.e == 4 ? 4 : 4 + s.e) + chunk * s.D * 3 * s.e;
  memory.backward = s.T * (s.D + 3 * s.F) * s.e;
  // A layer made again: its output, for its input, which is kept anyway.
  if (full) memory.backward += layers / L + (adapted > 0 ? aligner_bytes(s, sizes.trainables) : 0);
  return memory;
}

}  // namespace layalign::model
