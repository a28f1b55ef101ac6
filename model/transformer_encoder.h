#pragma once

// Shape letters: S encoder tokens of all samples, D encoder width, F intermediate width, V vocabulary.

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "model/activation.h"
#include "model/encoder.h"
#include "model/linear.h"
#include "model/packed_sequences.h"
#include "model/weights.h"

namespace layalign::model {

/// y = x W^T + b.
struct Linear {
  at::Tensor weight, bias;  ///< [out, in], [out]
  at::Tensor operator()(const at::Tensor& x) const { return apply_linear(x, weight, bias); }
};

/// y = (x - mean) / sqrt(variance + eps) * weight + bias, over the last dimension.
struct LayerNorm {
  at::Tensor weight_D, bias_D;
  double eps = 1e-5;
  at::Tensor operator()(const at::Tensor& x) const { return at::layer_norm(x, {x.size(-1)}, weight_D, bias_D, eps); }
};

/// One layer of a TransformerEncoder.
struct TransformerLayer {
  Linear qkv, out;  ///< [3 D, D], [D, D]
  LayerNorm attention_norm;
  Linear up, down;  ///< [F, D], [D, F]
  LayerNorm feed_forward_norm;
  double scale = 1.0;  ///< of the attention scores
};

/// What all stacks of such layers are described by.
struct TransformerConfig {
  EncoderInfo info;
  int64_t heads = 0;
  int64_t intermediate_size = 0;
  Activation activation = Activation::kGelu;
  double norm_eps = 1e-5;

  int64_t head_dim() const { return info.width / heads; }
  /// Weights and biases of one layer.
  int64_t layer_parameters() const;
  /// Fills what `info` says of its products. `causal`: a token does not see those after it.
  void describe_work(bool causal);
  /// Refuses a number of heads (`key`) that does not divide the width.
  void check_heads(const HfConfig& config, const std::string& key) const;
};

/// Names of a layer's parts below the layer's own prefix.
struct TransformerLayerNames {
  std::string q, k, v, out, attention_norm, up, down, feed_forward_norm;
};

/// An encoder of the original transformer's layers, with biases, LayerNorms and one head size; a family adds the
/// embedding and the weights.
///   kPre    x = x + out(attention(norm(x)));  x = x + down(act(up(norm(x))));  hidden_states[n] = final_norm(x)
///   kPost   x = norm(x + out(attention(x)));  x = norm(x + down(act(up(x))))
class TransformerEncoder : public Encoder {
 public:
  const EncoderInfo& info() const override { return config_.info; }
  at::ScalarType type() const override { return embedding_VD_.scalar_type(); }
  const std::string& fingerprint() const override { return fingerprint_; }
  std::vector<at::Tensor> weights() const override;
  /// Errors: ModelError for a sample longer than info().max_tokens.
  EncoderStates encode(const at::Tensor& ids_S, const std::vector<int64_t>& offsets,
                       const std::vector<int64_t>& layers) const override;

 protected:
  enum class Norm { kPre, kPost };
  enum class Sight { kBoth, kCausal };  ///< whether a token sees those after it
  TransformerEncoder(TransformerConfig config, Norm norm, Sight sight)
      : config_(std::move(config)), norm_(norm), sight_(sight) {}

  /// hidden_states[0], [S, D].
  virtual at::Tensor embed(const at::Tensor& ids_S, const std::vector<int64_t>& offsets) const = 0;
  /// The weights that only `embed` uses.
  virtual std::vector<at::Tensor> embedding_weights() const = 0;

  static Linear read_linear(Weights& weights, const std::string& name, int64_t out, int64_t in);
  /// Reads the names of PyTorch (weight, bias) and those of TensorFlow (gamma, beta).
  LayerNorm read_norm(Weights& weights, const std::string& name) const;
  TransformerLayer read_layer(Weights& weights, const std::string& prefix, const TransformerLayerNames& names) const;

  TransformerConfig config_;
  at::Tensor embedding_VD_;
  std::vector<TransformerLayer> layers_;
  LayerNorm final_norm_;  ///< of kPre
  std::string fingerprint_;

 private:
  at::Tensor attention(const TransformerLayer& layer, const at::Tensor& x_SD,
                       const PackedSequences& texts) const;
  at::Tensor run_layer(const TransformerLayer& layer, const at::Tensor& x_SD,
                       const PackedSequences& texts) const;

  Norm norm_;
  Sight sight_;
};

}  // namespace layalign::model
