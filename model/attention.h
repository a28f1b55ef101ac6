#pragma once

#include <ATen/ATen.h>

#include <optional>

#include "model/packed_sequences.h"

namespace layalign::model {

/// Attention within each sample of a packed row (variable-length attention).
///
/// q [Tq, heads, dh], k and v [Tk, kv_heads, dh] with heads a multiple of kv_heads; `queries` and `keys` cut them into the same
/// samples. `causal`: token i of a sample sees tokens 0..i of it (then both are cut alike). `bias`: added to the scores,
/// [heads, longest sample, longest sample], its top left corner is a shorter sample's; without gradient. Softmax in float32.
/// Returns [Tq, heads * dh]. Its backward is written by hand, and keeps q, k, v, the output and a number a row and head; with `bias`, and
/// for head sizes that the kernels of GPUs do not take (multiples of 8 up to 256), it is LibTorch's. bfloat16 on a GPU needs Ampere.
/// Errors: TORCH_CHECK, of shapes and sequences that do not fit, and of a sample without tokens.
at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const PackedSequences& queries, const PackedSequences& keys, bool causal, double scale,
                            const std::optional<at::Tensor>& bias = std::nullopt);

}  // namespace layalign::model
