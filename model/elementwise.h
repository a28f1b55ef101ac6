#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "model/elementwise_kernels.h"

namespace layalign::model {

// What a layer does beside its products. Backward is written by hand and keeps only what it needs: inputs that are there anyway, and a
// number a row; it has no gradient of its own. On a CPU in float32 kernels of our own read each row from memory once; elsewhere, and
// without `use_elementwise_kernels`, they are LibTorch's operators. Rows are those of the last dimension; weights are frozen. No
// collective. Errors: TORCH_CHECK, of shapes that do not fit.

/// y = x / sqrt(mean(x^2) + eps) * weight; computed in float32, rounded to x's type before the weight as transformers does. The
/// norm of Llama, Mistral, Qwen2 and T5. x [.., D], weight [D] -> [.., D].
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

struct SumAndNorm {
  at::Tensor sum, normed;
};
/// x + added, and its rms_norm.
SumAndNorm add_rms_norm(const at::Tensor& x, const at::Tensor& added, const at::Tensor& weight, double eps);

/// silu(gate) * up; gate_up [T, 2F], gate first -> [T, F].
at::Tensor swiglu(const at::Tensor& gate_up);

/// x + gate * scaled; x and scaled [T, N], gate a scalar that is trained (float32): its gradient is the sum over all of [T, N].
at::Tensor gated_sum(const at::Tensor& x, const at::Tensor& scaled, const at::Tensor& gate);

/// Whether kernels of our own are used at all; by default they are. For benchmarks.
void use_elementwise_kernels(bool use);

/// The kernels for this processor, or nullptr where `x` is none of theirs.
const ElementwiseKernels* elementwise_kernels(const at::Tensor& x);

/// Calls work(begin, end) for shares of `rows` rows of `width` values on this process's threads.
template <typename Work>
void for_rows(int64_t rows, int64_t width, const Work& work) {
  constexpr int64_t kGrain = int64_t{1} << 15;  // values that a thread is worth waking for
  at::parallel_for(0, rows, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, width)), work);
}

}  // namespace layalign::model
