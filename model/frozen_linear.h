#pragma once

#include <ATen/ATen.h>

namespace layalign::model {

/// x W^T + bias for a frozen weight; x [.., K], weight [N, K], bias [N] or undefined -> [.., N]. As at::linear, whose products of
/// a few rows (a token of each sample, when text is generated) pack the whole weight first; here, on a CPU, in float32 and
/// without a gradient, each weight is read once. No collective.
at::Tensor frozen_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {});

}  // namespace layalign::model
