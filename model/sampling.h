#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace layalign::model {

/// How the next token is chosen from its logits.
struct SamplingOptions {
  double temperature = 0;  ///< 0: the likeliest token (greedy)
  double top_p = 1;        ///< draws from the likeliest tokens that together have this probability
  uint64_t seed = 0;
};

/// A number in [0, 1) that depends on its arguments alone: a sample, known by its key, draws the same tokens in any
/// batch, on any grid.
double uniform_draw(uint64_t seed, uint64_t key, int64_t step);

/// Draws a token from each row of logits_NV (float32) by temperature and top-p: row i with the number `draws[i]` in [0,
/// 1).
std::vector<int64_t> draw_tokens(const at::Tensor& logits_NV, const SamplingOptions& options,
                                 const std::vector<double>& draws);

}  // namespace layalign::model
