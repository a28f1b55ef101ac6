#include "model/t5_encoder.h"

#include <ATen/core/grad_mode.h>

#include <cmath>

#include "model/attention.h"
#include "model/elementwise.h"
#include "model/hidden_states.h"
#include "model/linear.h"
#include "model/weights.h"

namespace layalign::model {

T5Config T5Config::read(HfConfig& config, const std::vector<std::string>& ignored_fields) {
  T5Config t5;
  t5.info = {.model_type = config.model_type(), .width = config.count("d_model"), .depth = config.count("num_layers"),
             .vocabulary_size = config.count("vocab_size")};
  t5.heads = config.count("num_heads");
  t5.head_dim = config.count("d_kv");
  t5.intermediate_size = config.count("d_ff");
  t5.buckets = config.count_or("relative_attention_num_buckets", 32);
  t5.max_distance = config.count_or("relative_attention_max_distance", 128);
  t5.norm_eps = config.number_or("layer_norm_epsilon", 1e-6);

  const bool is_mt5 = config.model_type() == "mt5";
  const auto projection = config.text_or("feed_forward_proj", is_mt5 ? "gated-gelu" : "relu");
  t5.gated = projection.starts_with("gated-");
  // transformers reads the gated-gelu of T5 v1.1 and mT5 as the tanh form.
  const std::string name = projection == "gated-gelu" ? "gelu_new" : t5.gated ? projection.substr(6) : projection;
  t5.activation = activation_of(name, config, "feed_forward_proj");
  // Two fields restate feed_forward_proj, and transformers believes them.
  if (config.text_or("dense_act_fn", name) != name) config.refuse("dense_act_fn", "feed_forward_proj says " + name);
  if (config.flag_or("is_gated_act", t5.gated) != t5.gated) config.refuse("is_gated_act", "feed_forward_proj says otherwise");
  if (t5.buckets < 4) config.refuse("relative_attention_num_buckets", "at least 4 are needed");
  const int64_t D = t5.info.width, inner = t5.heads * t5.head_dim;
  t5.info.parameters = t5.info.vocabulary_size * D + t5.buckets * t5.heads + D +
                       t5.info.depth * (2 * D + 4 * inner * D + (t5.gated ? 3 : 2) * t5.intermediate_size * D);
  t5.info.matrix_parameters = t5.info.depth * (4 * inner + (t5.gated ? 3 : 2) * t5.intermediate_size) * D;
  t5.info.attention_width = inner;
  // They concern the decoder and training.
  config.ignore({"dropout_rate", "n_positions", "num_decoder_layers", "is_decoder",
                 "tie_word_embeddings", "scale_decoder_outputs", "decoder_layers", "tie_encoder_decoder"});
  config.finish(ignored_fields);
  return t5;
}

at::Tensor relative_position_buckets(const at::Tensor& distances, int64_t buckets, int64_t max_distance) {
  const int64_t half = buckets / 2;  // one half for keys before the query, one for those after it
  const int64_t exact = half / 2;    // small distances have a bucket each, larger ones share logarithmically
  const auto distance = distances.abs();
  const auto ratio = at::log(distance.clamp_min(1).to(at::kFloat) / static_cast<double>(exact)) /
                     std::log(static_cast<double>(max_distance) / static_cast<double>(exact));
  const auto shared = (exact + (ratio * static_cast<double>(half - exact)).to(at::kLong)).clamp_max(half - 1);
  return (distances > 0).to(at::kLong) * half + at::where(distance < exact, distance, shared);
}

T5Encoder::T5Encoder(const std::filesystem::path& folder, const T5Config& config, at::Device device, at::ScalarType type)
    : config_(config) {
  const int64_t D = config.info.width, inner = config.heads * config.head_dim, F = config.intermediate_size;
  Weights weights(folder, {"encoder.", ""}, "block.0.layer.0.SelfAttention.q.weight", device, type);
  const bool shared = weights.contains("shared.weight");
  embedding_VD_ = weights.whole(shared ? "shared.weight" : weights.prefix() + "embed_tokens.weight",
                                {config.info.vocabulary_size, D});
  for (int64_t i = 0; i < config.info.depth; ++i) {
    const std::string block = weights.prefix() + "block." + std::to_string(i) + ".layer.";
    const std::string attention = block + "0.SelfAttention.", dense = block + "1.DenseReluDense.";
    Block b;
    b.attention_norm = weights.whole(block + "0.layer_norm.weight", {D});
    b.qkv = at::cat({weights.whole(attention + "q.weight", {inner, D}), weights.whole(attention + "k.weight", {inner, D}),
                     weights.whole(attention + "v.weight", {inner, D})});
    b.o = weights.whole(attention + "o.weight", {D, inner});
    b.feed_forward_norm = weights.whole(block + "1.layer_norm.weight", {D});
    b.wi = config.gated ? at::cat({weights.whole(dense + "wi_0.weight", {F, D}), weights.whole(dense + "wi_1.weight", {F, D})})
                        : weights.whole(dense + "wi.weight", {F, D});
    b.wo = weights.whole(dense + "wo.weight", {D, F});
    blocks_.push_back(std::move(b));
  }
  position_bias_BH_ = weights.whole(weights.prefix() + "block.0.layer.0.SelfAttention.relative_attention_bias.weight",
                                    {config.buckets, config.heads});
  final_norm_D_ = weights.whole(weights.prefix() + "final_layer_norm.weight", {D});
  fingerprint_ = weights.fingerprint();
}

at::Tensor T5Encoder::position_bias(int64_t longest) const {
  const auto positions = at::arange(longest, position_bias_BH_.options().dtype(at::kLong));
  const auto distances = positions.unsqueeze(0) - positions.unsqueeze(1);  // key - query
  const auto buckets = relative_position_buckets(distances, config_.buckets, config_.max_distance);
  return at::embedding(position_bias_BH_, buckets).permute({2, 0, 1}).contiguous();
}

at::Tensor T5Encoder::block(const Block& b, const at::Tensor& x_SD, const PackedSequences& texts,
                            const at::Tensor& bias_HSS) const {
  const auto qkv = apply_linear(rms_norm(x_SD, b.attention_norm, config_.norm_eps), b.qkv)
                       .view({x_SD.size(0), 3, config_.heads, config_.head_dim});
  const auto heads = packed_attention(qkv.select(1, 0), qkv.select(1, 1), qkv.select(1, 2), texts, texts,
                                      /*causal=*/false, /*scale=*/1.0, bias_HSS);
  const auto [middle_SD, normed_SD] = add_rms_norm(x_SD, apply_linear(heads, b.o), b.feed_forward_norm, config_.norm_eps);
  auto hidden = apply_linear(normed_SD, b.wi);
  if (config_.gated) {
    const auto halves = hidden.chunk(2, -1);
    hidden = activate(halves[0], config_.activation) * halves[1];
  } else {
    hidden = activate(hidden, config_.activation);
  }
  return middle_SD + apply_linear(hidden, b.wo);
}

EncoderStates T5Encoder::encode(const at::Tensor& ids_S, const std::vector<int64_t>& offsets,
                                const std::vector<int64_t>& layers) const {
  at::NoGradGuard no_grad;
  const PackedSequences texts(offsets, ids_S.device());
  auto x_SD = at::embedding(embedding_VD_, ids_S);
  HiddenStates states(layers, x_SD);
  const auto bias_HSS = position_bias(texts.longest());
  for (int64_t i = 0; i < config_.info.depth; ++i) {
    x_SD = block(blocks_[i], x_SD, texts, bias_HSS);
    if (i + 1 < config_.info.depth) states.add(x_SD);
  }
  return states.finish(rms_norm(x_SD, final_norm_D_, config_.norm_eps));
}

std::vector<at::Tensor> T5Encoder::weights() const {
  std::vector<at::Tensor> all{embedding_VD_, position_bias_BH_, final_norm_D_};
  for (const Block& block : blocks_) {
    append_defined(all, {block.attention_norm, block.qkv, block.o, block.feed_forward_norm, block.wi, block.wo});
  }
  return all;
}

}  // namespace layalign::model
