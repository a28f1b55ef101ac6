#pragma once

#include <ATen/ATen.h>

#include <string>

#include "model/hf_config.h"

namespace layalign::model {

/// Rotary position embedding: types default, linear and llama3 of transformers.
struct RopeConfig {
  std::string type = "default";
  double theta = 10000.0;
  double factor = 1.0;                            ///< linear, llama3
  double low_freq_factor = 1.0;                   ///< llama3
  double high_freq_factor = 4.0;                  ///< llama3
  int64_t original_max_position_embeddings = 0;   ///< llama3

  /// Reads `rope_parameters` (transformers 5) or `rope_theta` and `rope_scaling` (transformers 4).
  /// Errors: ModelError naming an unknown type or parameter.
  static RopeConfig read(HfConfig& config, int64_t max_position_embeddings);
};

/// Cosines and sines of the rotation at each packed row, float32 [T, head_dim].
struct RopeTable {
  at::Tensor cos_TH, sin_TH;
};

/// Inverse frequencies, float32 [head_dim / 2]. Source: transformers' modeling_rope_utils.
at::Tensor inverse_frequencies(const RopeConfig& config, int64_t head_dim);

/// The table of rows at `positions_T` (int64) from the frequencies of `inverse_frequencies`.
RopeTable rope_table(const at::Tensor& frequencies, const at::Tensor& positions_T);

/// Rotates x [T, heads, head_dim]; computes in float32, returns x's type.
at::Tensor apply_rope(const at::Tensor& x, const RopeTable& table);

/// Queries [T, H, head_dim], keys and values [T, G, head_dim] of a layer.
struct Heads {
  at::Tensor q, k, v;
};

/// Heads of the projections qkv [T, (H + 2G) head_dim], queries and keys rotated. They take the memory of `qkv`, which must not be
/// used any more and whose operator must not keep it for its backward.
Heads rotated_heads(const at::Tensor& qkv, int64_t heads, int64_t kv_heads, const RopeTable& table);

}  // namespace layalign::model
