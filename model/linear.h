#pragma once

#include <ATen/ATen.h>

namespace layalign::model {

// On CPUs with AVX-512 that are not Intel's, the float32 products of LibTorch's MKL run at half of what the processor
// can do, and those of oneDNN, which LibTorch has as well, at all of it: these functions take oneDNN there. Elsewhere,
// and with at::globalContext().setUserEnabledMkldnn(false), they are ATen's.

/// x W^T + bias; x [.., K], weight [N, K], bias [N] or undefined -> [.., N]. Gradients of each that wants one. No
/// collective.
at::Tensor apply_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {});

/// a [M, K] b [K, N] -> [M, N], whatever their strides; no gradient. No collective.
at::Tensor product(const at::Tensor& a, const at::Tensor& b);

}  // namespace layalign::model
