#include "model/transformer_encoder.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "model/attention.h"
#include "model/error.h"
#include "model/hidden_states.h"

namespace layalign::model {

int64_t TransformerConfig::layer_parameters() const {
  const int64_t D = info.width, F = intermediate_size;
  return 4 * (D * D + D) + 2 * D * F + F + D + 4 * D;  // q, k, v, out; up, down; two norms
}

void TransformerConfig::describe_work(bool causal) {
  const int64_t D = info.width;
  info.matrix_parameters = info.depth * (4 * D * D + 2 * D * intermediate_size);
  info.attention_width = D;
  info.causal = causal;
}

void TransformerConfig::check_heads(const HfConfig& config, const std::string& key) const {
  if (info.width % heads != 0) config.refuse(key, "it must divide the width " + std::to_string(info.width));
}

Linear TransformerEncoder::read_linear(Weights& weights, const std::string& name, int64_t out, int64_t in) {
  return {weights.whole(name + ".weight", {out, in}), weights.whole(name + ".bias", {out})};
}

LayerNorm TransformerEncoder::read_norm(Weights& weights, const std::string& name) const {
  const bool of_tensorflow = weights.contains(name + ".gamma");
  const int64_t D = config_.info.width;
  return {weights.whole(name + (of_tensorflow ? ".gamma" : ".weight"), {D}),
          weights.whole(name + (of_tensorflow ? ".beta" : ".bias"), {D}), config_.norm_eps};
}

TransformerLayer TransformerEncoder::read_layer(Weights& weights, const std::string& prefix,
                                                const TransformerLayerNames& names) const {
  const int64_t D = config_.info.width, F = config_.intermediate_size;
  const auto q = read_linear(weights, prefix + names.q, D, D), k = read_linear(weights, prefix + names.k, D, D),
             v = read_linear(weights, prefix + names.v, D, D);
  TransformerLayer layer;
  layer.qkv = {at::cat({q.weight, k.weight, v.weight}), at::cat({q.bias, k.bias, v.bias})};
  layer.out = read_linear(weights, prefix + names.out, D, D);
  layer.attention_norm = read_norm(weights, prefix + names.attention_norm);
  layer.up = read_linear(weights, prefix + names.up, F, D);
  layer.down = read_linear(weights, prefix + names.down, D, F);
  layer.feed_forward_norm = read_norm(weights, prefix + names.feed_forward_norm);
  layer.scale = 1.0 / std::sqrt(static_cast<double>(config_.head_dim()));
  return layer;
}

at::Tensor TransformerEncoder::attention(const TransformerLayer& layer, const at::Tensor& x_SD,
                                         const PackedSequences& texts) const {
  const auto qkv = layer.qkv(x_SD).view({x_SD.size(0), 3, config_.heads, config_.head_dim()});
  const auto heads = packed_attention(qkv.select(1, 0), qkv.select(1, 1), qkv.select(1, 2), texts, texts,
                                      sight_ == Sight::kCausal, layer.scale);
  return layer.out(heads);
}

at::Tensor TransformerEncoder::run_layer(const TransformerLayer& layer, const at::Tensor& x_SD,
                                         const PackedSequences& texts) const {
  const auto feed_forward = [&](const at::Tensor& x) { return layer.down(activate(layer.up(x), config_.activation)); };
  if (norm_ == Norm::kPre) {
    const auto middle_SD = x_SD + attention(layer, layer.attention_norm(x_SD), texts);
    return middle_SD + feed_forward(layer.feed_forward_norm(middle_SD));
  }
  const auto middle_SD = layer.attention_norm(x_SD + attention(layer, x_SD, texts));
  return layer.feed_forward_norm(middle_SD + feed_forward(middle_SD));
}

EncoderStates TransformerEncoder::encode(const at::Tensor& ids_S, const std::vector<int64_t>& offsets,
                                         const std::vector<int64_t>& layers) const {
  at::NoGradGuard no_grad;
  for (size_t i = 1; i < offsets.size(); ++i) config_.info.check_source_length(offsets[i] - offsets[i - 1]);
  const PackedSequences texts(offsets, ids_S.device());
  auto x_SD = embed(ids_S, offsets);
  HiddenStates states(layers, x_SD);
  for (size_t i = 0; i < layers_.size(); ++i) {
    x_SD = run_layer(layers_[i], x_SD, texts);
    if (i + 1 < layers_.size()) states.add(x_SD);
  }
  return states.finish(norm_ == Norm::kPre ? final_norm_(x_SD) : x_SD);
}

std::vector<at::Tensor> TransformerEncoder::weights() const {
  std::vector<at::Tensor> all{embedding_VD_};
  const auto add_linear = [&](const Linear& linear) { append_defined(all, {linear.weight, linear.bias}); };
  const auto add_norm = [&](const LayerNorm& norm) { append_defined(all, {norm.weight_D, norm.bias_D}); };
  for (const at::Tensor& tensor : embedding_weights()) append_defined(all, {tensor});
  for (const TransformerLayer& layer : layers_) {
    for (const Linear* linear : {&layer.qkv, &layer.out, &layer.up, &layer.down}) add_linear(*linear);
    for (const LayerNorm* norm : {&layer.attention_norm, &layer.feed_forward_norm}) add_norm(*norm);
  }
  add_norm(final_norm_);
  return all;
}

}  // namespace layalign::model
