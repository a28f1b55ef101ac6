#include "model/frozen_linear.h"

#include <ATen/Parallel.h>

#include "model/few_rows_kernel.h"

namespace layalign::model {
namespace {

/// Beyond it the library's products are as fast (measured at K = 768 and 2048).
constexpr int64_t kFewRows = 16;
/// Products a thread is worth waking for.
constexpr int64_t kGrain = int64_t{1} << 18;

FewRowsKernel fastest_kernel() {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2::few_rows_kernel;
#endif
  return baseline::few_rows_kernel;
}

bool few_rows(const at::Tensor& x, const at::Tensor& weight) {
  const bool wants_gradient = at::GradMode::is_enabled() && x.requires_grad();
  return !wants_gradient && x.device().is_cpu() && x.scalar_type() == at::kFloat && weight.scalar_type() == at::kFloat &&
         x.numel() > 0 && x.numel() <= kFewRows * x.size(-1) && weight.is_contiguous();
}

}  // namespace

at::Tensor frozen_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (!few_rows(x, weight)) return at::linear(x, weight, bias);
  static const FewRowsKernel kernel = fastest_kernel();
  const int64_t K = weight.size(1), N = weight.size(0);
  TORCH_CHECK(x.size(-1) == K, "a product of rows of ", x.size(-1), " with a weight of [", N, ", ", K, "]");
  const auto rows = x.contiguous();
  auto shape = x.sizes().vec();
  shape.back() = N;
  auto y = at::empty(shape, x.options());
  const FewRowsProduct product{rows.const_data_ptr<float>(), weight.const_data_ptr<float>(),
                               bias.defined() ? bias.const_data_ptr<float>() : nullptr, y.mutable_data_ptr<float>(),
                               rows.numel() / K, K, N};
  const int64_t grain = std::max<int64_t>(1, kGrain / (K * product.rows));
  at::parallel_for(0, N, grain, [&](int64_t begin, int64_t end) { kernel(product, begin, end); });
  return y;
}

}  // namespace layalign::model
