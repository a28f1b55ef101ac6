#include "model/few_rows.h"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "model/instruction_set.h"
#include "model/linear.h"
#include "model/row_kernels.h"
#include "model/work_counter.h"

namespace layalign::model {
namespace {

/// Beyond so many rows the library's products are as fast (measured with K = 768 and 2048).
constexpr int64_t kFewRows = 16;
/// Multiplications that a thread is worth waking for.
constexpr int64_t kGrain = int64_t{1} << 18;
constexpr int64_t kLanes = 8;  // of the kernels: head sizes they take are multiples

const RowKernels& fastest_kernels() {
#ifdef __x86_64__
  if (has_avx2()) return avx2::kRowKernels;
#endif
  return baseline::kRowKernels;
}

// Not without gradient alone: a layer that backward computes again runs once without and once with, and its bits must not differ.
bool is_plain(const at::Tensor& x) {
  return c10::InferenceMode::is_enabled() && x.device().is_cpu() && x.scalar_type() == at::kFloat;
}

int64_t grain(int64_t multiplications_each) { return std::max<int64_t>(1, kGrain / multiplications_each); }

}  // namespace

at::Tensor frozen_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const bool few_rows = x.numel() > 0 && x.numel() <= kFewRows * x.size(-1);
  if (!few_rows || !is_plain(x) || !is_plain(weight) || !weight.is_contiguous()) return apply_linear(x, weight, bias);
  const int64_t K = weight.size(1), N = weight.size(0);
  TORCH_CHECK(x.size(-1) == K, "a product of rows of ", x.size(-1), " with a weight of [", N, ", ", K, "]");
  const auto rows = x.contiguous();
  auto shape = x.sizes().vec();
  shape.back() = N;
  auto y = at::empty(shape, x.options());
  const RowProduct product{.x = rows.const_data_ptr<float>(),
                           .w = weight.const_data_ptr<float>(),
                           .bias = bias.defined() ? bias.const_data_ptr<float>() : nullptr,
                           .y = y.mutable_data_ptr<float>(),
                           .rows = rows.numel() / K,
                           .inner = K,
                           .y_stride = N};
  count_product(2 * product.rows * K * N);
  at::parallel_for(0, N, grain(K * product.rows),
                   [&](int64_t begin, int64_t end) { fastest_kernels().product(product, begin, end); });
  return y;
}

at::Tensor single_query_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                  const std::vector<int64_t>& lengths, const at::Tensor& mask, double scale) {
  const int64_t N = q.size(0), G = k.size(2), R = q.size(1) / G, dh = q.size(2);
  const int64_t longest = *std::max_element(lengths.begin(), lengths.begin() + N);
  const bool ours = is_plain(q) && dh % kLanes == 0 && k.is_contiguous() && v.is_contiguous() &&
                    *std::min_element(lengths.begin(), lengths.begin() + N) >= 1;
  if (!ours) {
    // The queries that share a key-value head become its rows: no key is copied.
    const auto valid = [&](const at::Tensor& all) { return all.narrow(1, 0, longest).transpose(1, 2); };
    const auto out = at::scaled_dot_product_attention(q.reshape({N, G, R, dh}), valid(k), valid(v), mask, /*dropout_p=*/0.0,
                                                      /*is_causal=*/false, scale);
    return out.reshape({N, -1});
  }
  const auto queries = q.contiguous();
  auto out = at::empty({N, G * R * dh}, q.options());
  const RowAttention attention{.q = queries.const_data_ptr<float>(),
                               .k = k.const_data_ptr<float>(),
                               .v = v.const_data_ptr<float>(),
                               .out = out.mutable_data_ptr<float>(),
                               .lengths = lengths.data(),
                               .capacity = k.size(1),
                               .kv_heads = G,
                               .group = R,
                               .head_dim = dh,
                               .scale = static_cast<float>(scale)};
  at::parallel_for(0, N * G, grain(2 * R * longest * dh), [&](int64_t begin, int64_t end) {
    std::vector<float> scores(std::min(end - begin, G) * R * longest);
    fastest_kernels().attention(attention, begin, end, scores.data());
  });
  return out;
}

}  // namespace layalign::model
