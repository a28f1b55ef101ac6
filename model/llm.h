#pragma once

// Shape letters: T LLM tokens of all samples, S encoder tokens, D LLM width, H query heads and G key-value heads of this
// rank, dh head size, F intermediate width of this rank.

#include <ATen/ATen.h>

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "dist/communicator.h"
#include "model/llm_config.h"
#include "model/rope.h"
#include "model/vocabulary_parallel.h"
#include "model/weights.h"

namespace layalign::model {

/// Keys and values of the fusion in one layer: the layer's own frozen k_proj and v_proj of its K- and V-state.
struct FusionKeyValue {
  at::Tensor key_SGd;    ///< [S, G, dh], without rotary embedding
  at::Tensor value_SGd;  ///< [S, G, dh]
};

/// Where a layer's queries meet keys and values: those of the packed batch itself, or those in a cache.
struct LayerAttention {
  /// Causal self-attention: q [T, H, dh] and k [T, G, dh], both rotated, v [T, G, dh] -> [T, H dh].
  std::function<at::Tensor(const at::Tensor& q_THd, const at::Tensor& k_TGd, const at::Tensor& v_TGd)> self;
  /// Attention of the rotated queries to the fusion's keys and values -> [T, H dh]. Empty: a plain layer.
  std::function<at::Tensor(const at::Tensor& q_THd)> fusion;
};

/// What the fusion is scaled by, one of: nothing (all undefined); a scalar; weight . x + bias of the layer's normed input
/// x, a number a token.
struct FusionGate {
  at::Tensor scalar;
  at::Tensor weight_D, bias;
};

/// One frozen decoder layer, this rank's part of it (Megatron-style tensor parallelism).
///
///   a = rms_norm(x);  q, k, v = a Wqkv^T (columns sharded by heads);  Qwen3: q, k = rms_norm of each head
///   o = attention(rope(q), rope(k), v) + gate * attention(rope(q), key, value)     adapted layers: adaptive fusion
///   x = x + sum over ranks of o Wo^T
///   f = rms_norm(x);  x = x + sum over ranks of (silu(f Wg^T) * f Wu^T) Wd^T
/// Grouped key-value heads are sharded where tp divides them, else each is held by tp / kv_heads ranks. The fusion's head
/// outputs join before the one o_proj, so fusion costs no forward collective.
/// Collectives: forward two all-reduces of [T, D], backward two.
/// Gradients: dx is whole on every rank; those of `fusion` and `gate` are PARTIAL sums on each rank.
class DecoderLayer {
 public:
  DecoderLayer(const LlmConfig& config, Weights& weights, int64_t index, const dist::Communicator& tp);

  /// x_TD [T, D] -> [T, D]. `gate` is used in adapted layers only: those with `attention.fusion`.
  at::Tensor forward(const at::Tensor& x_TD, const RopeTable& rope, const LayerAttention& attention,
                     const FusionGate& gate) const;

  /// The layer's projections of a K-state and a V-state, each [S, D]; of Qwen3 with the norm of its keys.
  FusionKeyValue project(const at::Tensor& key_state_SD, const at::Tensor& value_state_SD) const;

  /// What attention scores are multiplied by: 1 / sqrt(dh).
  double scale() const;
  int64_t kv_heads() const { return kv_heads_; }  ///< G
  std::vector<at::Tensor> weights() const;         ///< of this rank
  int64_t head_dim() const { return head_dim_; }

 private:
  at::Tensor attention(const at::Tensor& x_TD, const RopeTable& rope, const LayerAttention& attention,
                       const FusionGate& gate) const;
  /// Queries, keys and values of the projections, which give their memory: normed (Qwen3) and rotated.
  Heads heads(const at::Tensor& qkv, const RopeTable& rope) const;
  at::Tensor mlp(const at::Tensor& x_TD) const;

  dist::Communicator tp_;
  int64_t heads_;     ///< H
  int64_t kv_heads_;  ///< G
  int64_t head_dim_;
  double eps_;
  at::Tensor input_norm_D_, post_attention_norm_D_;
  at::Tensor qkv_weight_;  ///< [(H + 2G) dh, D]
  at::Tensor qkv_bias_;    ///< [(H + 2G) dh] or undefined
  at::Tensor q_norm_d_, k_norm_d_;  ///< [dh] or undefined; of each head, before the rotation
  at::Tensor o_weight_;    ///< [D, H dh]
  at::Tensor o_bias_D_;    ///< or undefined; added once a projection, after the sum over the ranks
  at::Tensor gate_up_weight_;  ///< [2F, D]
  at::Tensor gate_up_bias_;    ///< [2F] or undefined
  at::Tensor down_weight_;     ///< [D, F]
  at::Tensor down_bias_D_;     ///< or undefined
};

/// Whether the output projection (lm_head) is needed: a decoder used as an encoder has none.
enum class OutputHead { kLoad, kNone };

/// A frozen decoder-only LLM (Llama, Mistral, Qwen2, Qwen3), sharded over a tensor-parallel group.
class Llm {
 public:
  /// Reads this rank's shard. Errors: ModelError naming the field or weight; heads that tp does not divide.
  Llm(const std::filesystem::path& folder, const LlmConfig& config, const dist::Communicator& tp, at::Device device,
      at::ScalarType type, OutputHead head = OutputHead::kLoad);

  const LlmConfig& config() const { return config_; }
  at::ScalarType type() const { return type_; }
  const std::string& fingerprint() const { return fingerprint_; }
  /// Every weight of this rank's shard, as it is in memory.
  std::vector<at::Tensor> weights() const;
  const DecoderLayer& layer(int64_t index) const { return layers_[index]; }
  int64_t layers() const { return static_cast<int64_t>(layers_.size()); }

  /// Embedding rows of `ids_K`, [K, D]. Collectives: one all-reduce.
  at::Tensor embed(const at::Tensor& ids_K) const { return vocabulary_embedding(ids_K, embedding_, tp_); }
  RopeTable rope(const at::Tensor& positions_T) const { return rope_table(frequencies_, positions_T); }

  /// The final norm, [T, D] -> [T, D].
  at::Tensor normed(const at::Tensor& hidden_TD) const;

  /// Loss of each label row, float32 [N]: final norm, head, cross-entropy of hidden_ND (states before the final norm).
  /// Collectives: see vocabulary_cross_entropy.
  at::Tensor label_losses(const at::Tensor& hidden_ND, const at::Tensor& labels_N) const;
  /// Logits of the same rows, float32 [N, V]. Collectives: one all-gather.
  at::Tensor logits(const at::Tensor& hidden_ND) const;
  /// The likeliest next token of the same rows, int64 [N]; of equals the lowest id. Collectives: one all-gather of [2, N].
  at::Tensor likeliest(const at::Tensor& hidden_ND) const;

 private:
  LlmConfig config_;
  dist::Communicator tp_;
  at::ScalarType type_;
  VocabularyShard embedding_, head_;
  std::vector<DecoderLayer> layers_;
  at::Tensor norm_D_;
  at::Tensor frequencies_;
  std::string fingerprint_;
};

}  // namespace layalign::model
