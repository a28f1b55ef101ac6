#include "model/llm.h"

#include <cmath>

#include "dist/tensor_parallel.h"
#include "model/elementwise.h"
#include "model/error.h"
#include "model/few_rows.h"
#include "model/work_counter.h"

namespace layalign::model {
namespace {

/// Heads of this rank as rows of a projection weight: `heads` of `head_dim` rows from head `first`.
dist::Shard head_rows(int64_t first, int64_t heads, int64_t head_dim) {
  return {first * head_dim, (first + heads) * head_dim, heads * head_dim};
}

/// Head outputs of self-attention plus those of the fusion, scaled by the gate; `x_TD`: the layer's normed input.
at::Tensor with_fusion(const at::Tensor& self, const at::Tensor& fused, const FusionGate& gate, const at::Tensor& x_TD) {
  if (gate.scalar.defined()) return gated_sum(self, fused, gate.scalar);
  if (!gate.weight_D.defined()) return self + fused;
  const PartScope part(Part::kFusion);
  const auto type = fused.scalar_type();
  return self + (at::mv(x_TD, gate.weight_D.to(type)) + gate.bias.to(type)).unsqueeze(1) * fused;
}

}  // namespace

DecoderLayer::DecoderLayer(const LlmConfig& config, Weights& weights, int64_t index, const dist::Communicator& tp)
    : tp_(tp), head_dim_(config.head_dim), eps_(config.rms_norm_eps) {
  heads_ = config.heads / tp.size();
  kv_heads_ = std::max<int64_t>(1, config.kv_heads / tp.size());
  const int64_t first_kv_head = tp.rank() * heads_ / (config.heads / config.kv_heads);
  const int64_t D = config.hidden_size, dh = config.head_dim;
  const auto q_rows = head_rows(tp.rank() * heads_, heads_, dh);
  const auto kv_rows = head_rows(first_kv_head, kv_heads_, dh);
  const auto mlp_rows = dist::shard_of(config.intermediate_size, tp.rank(), tp.size());
  const std::string layer = weights.prefix() + "layers." + std::to_string(index) + ".";

  const auto sharded = [&](const std::string& name, int64_t total, const dist::Shard& shard) {
    return weights.rows(layer + name + ".weight", {total, D}, shard);
  };
  const auto sharded_bias = [&](const std::string& name, int64_t total, const dist::Shard& shard) {
    return weights.rows(layer + name + ".bias", {total}, shard);
  };
  const std::string attention = "self_attn.", mlp = "mlp.";
  if (config.qk_norm) {
    q_norm_d_ = weights.whole(layer + attention + "q_norm.weight", {dh});
    k_norm_d_ = weights.whole(layer + attention + "k_norm.weight", {dh});
  }
  input_norm_D_ = weights.whole(layer + "input_layernorm.weight", {D});
  qkv_weight_ = at::cat({sharded(attention + "q_proj", config.heads * dh, q_rows),
                         sharded(attention + "k_proj", config.kv_heads * dh, kv_rows),
                         sharded(attention + "v_proj", config.kv_heads * dh, kv_rows)});
  if (config.qkv_bias) {
    qkv_bias_ = at::cat({sharded_bias(attention + "q_proj", config.heads * dh, q_rows),
                         sharded_bias(attention + "k_proj", config.kv_heads * dh, kv_rows),
                         sharded_bias(attention + "v_proj", config.kv_heads * dh, kv_rows)});
  }
  o_weight_ = weights.columns(layer + attention + "o_proj.weight", {D, config.heads * dh}, q_rows);
  if (config.o_bias) o_bias_D_ = weights.whole(layer + attention + "o_proj.bias", {D});
  post_attention_norm_D_ = weights.whole(layer + "post_attention_layernorm.weight", {D});
  gate_up_weight_ = at::cat({sharded(mlp + "gate_proj", config.intermediate_size, mlp_rows),
                             sharded(mlp + "up_proj", config.intermediate_size, mlp_rows)});
  down_weight_ = weights.columns(layer + mlp + "down_proj.weight", {D, config.intermediate_size}, mlp_rows);
  if (config.mlp_bias) {
    gate_up_bias_ = at::cat({sharded_bias(mlp + "gate_proj", config.intermediate_size, mlp_rows),
                             sharded_bias(mlp + "up_proj", config.intermediate_size, mlp_rows)});
    down_bias_D_ = weights.whole(layer + mlp + "down_proj.bias", {D});
  }
}

at::Tensor DecoderLayer::forward(const at::Tensor& x_TD, const RopeTable& rope, const LayerAttention& layer_attention,
                                 const FusionGate& gate) const {
  const auto attended_TD = attention(rms_norm(x_TD, input_norm_D_, eps_), rope, layer_attention, gate);
  const auto [middle_TD, normed_TD] = add_rms_norm(x_TD, attended_TD, post_attention_norm_D_, eps_);
  return middle_TD + mlp(normed_TD);
}

double DecoderLayer::scale() const { return 1.0 / std::sqrt(static_cast<double>(head_dim_)); }

at::Tensor DecoderLayer::attention(const at::Tensor& x_TD, const RopeTable& rope, const LayerAttention& attention,
                                   const FusionGate& gate) const {
  const auto shared_TD = dist::copy_to_tensor_parallel(x_TD, tp_);
  const auto [q_THd, k_TGd, v_TGd] = heads(frozen_linear(shared_TD, qkv_weight_, qkv_bias_), rope);
  auto heads_out = attention.self(q_THd, k_TGd, v_TGd);
  if (attention.fusion) heads_out = with_fusion(heads_out, attention.fusion(q_THd), gate, shared_TD);
  auto out_TD = dist::reduce_from_tensor_parallel(frozen_linear(heads_out, o_weight_), tp_);
  // The reference projects self-attention and fusion apart, so its bias counts once for each.
  if (o_bias_D_.defined()) out_TD = out_TD + (attention.fusion ? 2 * o_bias_D_ : o_bias_D_);
  return out_TD;
}

Heads DecoderLayer::heads(const at::Tensor& qkv, const RopeTable& rope) const {
  if (!q_norm_d_.defined()) return rotated_heads(qkv, heads_, kv_heads_, rope);
  const auto all = qkv.view({qkv.size(0), -1, head_dim_});
  return {apply_rope(rms_norm(all.narrow(1, 0, heads_), q_norm_d_, eps_), rope),
          apply_rope(rms_norm(all.narrow(1, heads_, kv_heads_), k_norm_d_, eps_), rope),
          all.narrow(1, heads_ + kv_heads_, kv_heads_)};
}

FusionKeyValue DecoderLayer::project(const at::Tensor& key_state_SD, const at::Tensor& value_state_SD) const {
  const int64_t q_size = heads_ * head_dim_, kv_size = kv_heads_ * head_dim_;
  const auto part = [&](const at::Tensor& x, int64_t first) {
    const auto bias = qkv_bias_.defined() ? qkv_bias_.narrow(0, first, kv_size) : at::Tensor();
    return frozen_linear(x, qkv_weight_.narrow(0, first, kv_size), bias).view({-1, kv_heads_, head_dim_});
  };
  const auto key_SGd = part(key_state_SD, q_size);
  return {k_norm_d_.defined() ? rms_norm(key_SGd, k_norm_d_, eps_) : key_SGd, part(value_state_SD, q_size + kv_size)};
}

at::Tensor DecoderLayer::mlp(const at::Tensor& x_TD) const {
  const auto gate_up = frozen_linear(dist::copy_to_tensor_parallel(x_TD, tp_), gate_up_weight_, gate_up_bias_);
  auto out_TD = dist::reduce_from_tensor_parallel(frozen_linear(swiglu(gate_up), down_weight_), tp_);
  if (down_bias_D_.defined()) out_TD = out_TD + down_bias_D_;
  return out_TD;
}

Llm::Llm(const std::filesystem::path& folder, const LlmConfig& config, const dist::Communicator& tp, at::Device device,
         at::ScalarType type, OutputHead head)
    : config_(config), tp_(tp), type_(type) {
  config.check_tensor_parallel(folder, tp.size());
  Weights weights(folder, {"model.", ""}, "embed_tokens.weight", device, type);
  const auto shard = dist::shard_of(config.vocabulary_size, tp.rank(), tp.size());
  const int64_t V = config.vocabulary_size, D = config.hidden_size;
  embedding_ = {weights.rows(weights.prefix() + "embed_tokens.weight", {V, D}, shard), shard};
  for (int64_t i = 0; i < config.layers; ++i) layers_.emplace_back(config, weights, i, tp);
  norm_D_ = weights.whole(weights.prefix() + "norm.weight", {D});
  const bool own_head = head == OutputHead::kLoad && !config.tied_embeddings;
  if (head == OutputHead::kLoad) {
    head_ = own_head ? VocabularyShard{weights.rows("lm_head.weight", {V, D}, shard), shard} : embedding_;
  }
  frequencies_ = inverse_frequencies(config.rope, config.head_dim).to(device);
  fingerprint_ = weights.fingerprint();
  for (const auto& name : weights.unused()) {
    const bool harmless = name.ends_with("rotary_emb.inv_freq") || (!own_head && name == "lm_head.weight");
    if (!harmless) {
      throw ModelError(folder.string() + ": weight '" + name + "' belongs to no part of a " + config.model_type +
                       " model as config.json describes it");
    }
  }
}

at::Tensor Llm::normed(const at::Tensor& hidden_TD) const { return rms_norm(hidden_TD, norm_D_, config_.rms_norm_eps); }

at::Tensor Llm::label_losses(const at::Tensor& hidden_ND, const at::Tensor& labels_N) const {
  const PartScope part(Part::kLoss);
  return vocabulary_cross_entropy(normed(hidden_ND), labels_N, head_, tp_);
}

at::Tensor Llm::logits(const at::Tensor& hidden_ND) const {
  return vocabulary_logits(normed(hidden_ND), head_, tp_, config_.vocabulary_size);
}

at::Tensor Llm::likeliest(const at::Tensor& hidden_ND) const { return vocabulary_argmax(normed(hidden_ND), head_, tp_); }

std::vector<at::Tensor> DecoderLayer::weights() const {
  std::vector<at::Tensor> all;
  append_defined(all, {input_norm_D_, post_attention_norm_D_, qkv_weight_, qkv_bias_, q_norm_d_, k_norm_d_, o_weight_, o_bias_D_,
                       gate_up_weight_, gate_up_bias_, down_weight_, down_bias_D_});
  return all;
}

std::vector<at::Tensor> Llm::weights() const {
  std::vector<at::Tensor> all;
  append_defined(all, {embedding_.weight_VlD, head_.weight_VlD, norm_D_, frequencies_});
  for (const DecoderLayer& layer : layers_) {
    for (const at::Tensor& tensor : layer.weights()) all.push_back(tensor);
  }
  return all;
}

}  // namespace layalign::model
