#include "model/attention.h"

namespace layalign::model {
namespace {

std::vector<int64_t> lengths(const std::vector<int64_t>& offsets) {
  std::vector<int64_t> result;
  for (size_t i = 1; i < offsets.size(); ++i) result.push_back(offsets[i] - offsets[i - 1]);
  return result;
}

/// [T, heads, dh] -> per sample [1, heads, t, dh]. One split node: its backward is a single concatenation.
std::vector<at::Tensor> by_sample(const at::Tensor& x, const std::vector<int64_t>& offsets) {
  auto parts = at::split_with_sizes(x, lengths(offsets), 0);
  for (auto& part : parts) part = part.transpose(0, 1).unsqueeze(0);
  return parts;
}

}  // namespace

at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const std::vector<int64_t>& q_offsets, const std::vector<int64_t>& k_offsets, bool causal,
                            double scale, const std::optional<at::Tensor>& bias) {
  const int64_t group = q.size(1) / k.size(1);
  const auto queries = by_sample(q, q_offsets);
  const auto keys = by_sample(group == 1 ? k : k.repeat_interleave(group, 1), k_offsets);
  const auto values = by_sample(group == 1 ? v : v.repeat_interleave(group, 1), k_offsets);
  std::vector<at::Tensor> outputs;
  outputs.reserve(queries.size());
  for (size_t i = 0; i < queries.size(); ++i) {
    std::optional<at::Tensor> mask;
    if (bias) mask = bias->narrow(1, 0, queries[i].size(2)).narrow(2, 0, keys[i].size(2)).unsqueeze(0);
    const auto out = at::scaled_dot_product_attention(queries[i], keys[i], values[i], mask, /*dropout_p=*/0.0, causal, scale);
    outputs.push_back(out.squeeze(0).transpose(0, 1).reshape({queries[i].size(2), -1}));
  }
  return at::cat(outputs, 0);
}

}  // namespace layalign::model
