#pragma once

#include <ATen/ATen.h>

#include <vector>

namespace layalign::model {

// Generation works on a few rows: one token of each sequence. Memory is then the limit, and on a CPU, in float32 and in inference
// mode, kernels of our own read weights, keys and values once (row_kernels.h); elsewhere these are LibTorch's operators.

/// x W^T + bias for a frozen weight; x [.., K], weight [N, K], bias [N] or undefined -> [.., N]. Any number of rows. No collective.
at::Tensor frozen_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {});

/// One query row of each sequence against the first tokens of that sequence in memory.
///   q [N, H, dh]; k and v [N, capacity, G, dh]; lengths [N], how many tokens of each are valid;
///   mask [N, 1, 1, the longest length]: 0, and -inf for padding  ->  [N, H dh]
at::Tensor single_query_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                  const std::vector<int64_t>& lengths, const at::Tensor& mask, double scale);

}  // namespace layalign::model
