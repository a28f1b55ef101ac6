#pragma once

#include "model/activation.h"
#include "model/encoder.h"
#include "model/hf_config.h"
#include "model/packed_sequences.h"

namespace layalign::model {

/// T5 v1.0 (ReLU), T5 v1.1 and mT5 (gated).
struct T5Config {
  EncoderInfo info;
  int64_t heads = 0;
  int64_t head_dim = 0;
  int64_t intermediate_size = 0;
  int64_t buckets = 32;
  int64_t max_distance = 128;
  double norm_eps = 1e-6;
  bool gated = false;
  Activation activation = Activation::kRelu;

  static T5Config read(HfConfig& config, const std::vector<std::string>& ignored_fields);
};

/// Relative position buckets of T5's bidirectional attention for distances key - query, int64 of the same shape.
/// Source: transformers' T5Attention._relative_position_bucket.
at::Tensor relative_position_buckets(const at::Tensor& distances, int64_t buckets, int64_t max_distance);

/// The encoder stack of T5 and mT5.
///   x = x + Wo attention(norm(x) Wq, Wk, Wv; unscaled scores + position bias);  x = x + ff(norm(x))
class T5Encoder : public Encoder {
 public:
  T5Encoder(const std::filesystem::path& folder, const T5Config& config, at::Device device, at::ScalarType type);

  const EncoderInfo& info() const override { return config_.info; }
  at::ScalarType type() const override { return embedding_VD_.scalar_type(); }
  const std::string& fingerprint() const override { return fingerprint_; }
  std::vector<at::Tensor> weights() const override;
  EncoderStates encode(const at::Tensor& ids_S, const std::vector<int64_t>& offsets,
                       const std::vector<int64_t>& layers) const override;

 private:
  struct Block {
    at::Tensor attention_norm, qkv, o;       // [De], [3 H dh, De], [De, H dh]
    at::Tensor feed_forward_norm, wi, wo;    // [De], [F or 2F, De], [De, F]
  };
  at::Tensor block(const Block& block, const at::Tensor& x_SD, const PackedSequences& texts,
                   const at::Tensor& bias_HSS) const;
  at::Tensor position_bias(int64_t longest) const;

  T5Config config_;
  at::Tensor embedding_VD_, position_bias_BH_, final_norm_D_;
  std::vector<Block> blocks_;
  std::string fingerprint_;
};

}  // namespace layalign::model
