#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace layalign::model {

/// Attention within each sample of a packed row (variable-length attention).
///
/// q [Tq, heads, dh], k and v [Tk, kv_heads, dh] with heads a multiple of kv_heads; `q_offsets` and `k_offsets` [B+1] cut
/// them into samples. `causal`: token i of a sample sees tokens 0..i of it (then both offsets are equal). `bias`: added to
/// the scores, [heads, longest sample, longest sample], its top left corner is a shorter sample's. Softmax in float32.
/// Returns [Tq, heads * dh].
at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const std::vector<int64_t>& q_offsets, const std::vector<int64_t>& k_offsets, bool causal,
                            double scale, const std::optional<at::Tensor>& bias = std::nullopt);

}  // namespace layalign::model
