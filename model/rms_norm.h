#pragma once

#include <ATen/ATen.h>

namespace layalign::model {

/// y = x / sqrt(mean(x^2) + eps) * weight, over the last dimension; computed in float32, rounded to x's type before the
/// weight as transformers does. The norm of Llama, Mistral, Qwen2 and T5.
inline at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const auto wide = x.to(at::kFloat);
  return (wide * at::rsqrt(wide.square().mean(-1, true) + eps)).to(x.scalar_type()) * weight;
}

}  // namespace layalign::model
