#pragma once

// Shape letters: S encoder tokens of all samples, D encoder width.

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace layalign::model {

/// The place of each token in its own sample, 0 first: int64 [S].
at::Tensor token_positions(const std::vector<int64_t>& offsets, at::Device device);

/// Positions as fairseq's models count them, int64 [S]: from padding_id + 1 in each sample; a token `padding_id` counts
/// for nothing and has position padding_id. Source: transformers' create_position_ids_from_input_ids.
at::Tensor fairseq_positions(const at::Tensor& ids_S, const std::vector<int64_t>& offsets, int64_t padding_id);

/// Sinusoidal positions, float32 [rows, width]: sines in the first half of a row, cosines in the second, a zero where
/// the width is odd; row `padding_id` is zero. Source: transformers' M2M100SinusoidalPositionalEmbedding.get_embedding.
at::Tensor sinusoidal_positions(int64_t rows, int64_t width, int64_t padding_id);

}  // namespace layalign::model
