#include "model/elementwise.h"

#include <torch/csrc/autograd/custom_function.h>

#include <atomic>
#include <optional>

#include "model/instruction_set.h"
#include "model/work_counter.h"

namespace layalign::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

std::atomic<bool> kernels_are_used{true};

const ElementwiseKernels& fastest_elementwise_kernels() {
#ifdef __x86_64__
  if (has_avx2()) return avx2::kElementwiseKernels;
#endif
  return baseline::kElementwiseKernels;
}

/// Sum (x itself where nothing is added), its norm, and 1 / sqrt(mean(sum^2) + eps) of each row.
struct Norm {
  at::Tensor sum, y, inverse;
};

Norm norm_by_operators(const at::Tensor& x, const at::Tensor& added, const at::Tensor& weight, double eps) {
  const auto sum = added.defined() ? x + added : x;
  const auto wide = sum.to(at::kFloat);
  const auto inverse = at::rsqrt(wide.square().mean(-1, true) + eps);
  return {sum, (wide * inverse).to(x.scalar_type()) * weight, inverse};
}

Norm norm(const at::Tensor& x, const at::Tensor& added, const at::Tensor& weight, double eps) {
  TORCH_CHECK(weight.dim() == 1 && weight.size(0) == x.size(-1), "a norm of ", weight.sizes(), " for rows of ", x.sizes());
  TORCH_CHECK(!added.defined() || added.sizes() == x.sizes(), "a sum of ", x.sizes(), " and ", added.sizes());
  const auto* const kernels = elementwise_kernels(x);
  if (kernels == nullptr) return norm_by_operators(x, added, weight, eps);
  const auto rows = x.contiguous(), added_rows = added.defined() ? added.contiguous() : added;
  auto shape = x.sizes().vec();
  shape.back() = 1;
  Norm result{added.defined() ? at::empty_like(rows) : x, at::empty_like(rows), at::empty(shape, x.options())};
  const NormRows work{.x = rows.const_data_ptr<float>(),
                      .added = added.defined() ? added_rows.const_data_ptr<float>() : nullptr,
                      .weight = weight.const_data_ptr<float>(),
                      .sum = added.defined() ? result.sum.mutable_data_ptr<float>() : nullptr,
                      .y = result.y.mutable_data_ptr<float>(),
                      .inverse = result.inverse.mutable_data_ptr<float>(),
                      .width = x.size(-1),
                      .eps = static_cast<float>(eps)};
  count_moved({rows, added_rows, weight, added.defined() ? result.sum : at::Tensor(), result.y, result.inverse});
  for_rows(result.inverse.numel(), work.width, [&](int64_t begin, int64_t end) { kernels->norm(work, begin, end); });
  return result;
}

/// Gradient for `sum`; `dsum` (or undefined) comes to it from elsewhere.
at::Tensor norm_gradient(const at::Tensor& sum, const at::Tensor& inverse, const at::Tensor& weight, const at::Tensor& dy,
                         const at::Tensor& dsum) {
  const auto* const kernels = elementwise_kernels(sum);
  if (kernels == nullptr) {
    const auto wide = sum.to(at::kFloat), scaled = (dy * weight).to(at::kFloat);
    const auto along = inverse.pow(3) * (scaled * wide).mean(-1, true);
    const auto dx = (inverse * scaled - along * wide).to(sum.scalar_type());
    return dsum.defined() ? dx + dsum : dx;
  }
  const auto rows = sum.contiguous(), dy_rows = dy.contiguous(), dsum_rows = dsum.defined() ? dsum.contiguous() : dsum;
  auto dx = at::empty_like(rows);
  const NormGradRows work{.sum = rows.const_data_ptr<float>(),
                          .inverse = inverse.const_data_ptr<float>(),
                          .weight = weight.const_data_ptr<float>(),
                          .dy = dy_rows.const_data_ptr<float>(),
                          .dsum = dsum.defined() ? dsum_rows.const_data_ptr<float>() : nullptr,
                          .dx = dx.mutable_data_ptr<float>(),
                          .width = sum.size(-1)};
  count_moved({rows, inverse, weight, dy_rows, dsum_rows, dx});
  for_rows(inverse.numel(), work.width, [&](int64_t begin, int64_t end) { kernels->norm_grad(work, begin, end); });
  return dx;
}

struct NormFunction : torch::autograd::Function<NormFunction> {
  /// Returns {y}, or {y, sum} where something is added.
  static variable_list forward(AutogradContext* context, const at::Tensor& x, const std::optional<at::Tensor>& added,
                               const at::Tensor& weight, double eps) {
    context->set_materialize_grads(false);
    const auto result = norm(x, added.value_or(at::Tensor()), weight, eps);
    context->save_for_backward({result.sum, result.inverse, weight});
    return added ? variable_list{result.y, result.sum} : variable_list{result.y};
  }
  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const auto dsum = grads.size() > 1 ? grads[1] : at::Tensor();
    const auto dx = grads[0].defined() ? norm_gradient(saved[0], saved[1], saved[2], grads[0], dsum) : dsum;
    return {dx, grads.size() > 1 ? dx : at::Tensor(), {}, {}};
  }
};

at::Tensor swiglu_rows(const at::Tensor& gate_up) {
  TORCH_CHECK(gate_up.dim() == 2 && gate_up.size(1) % 2 == 0, "gate and up of ", gate_up.sizes());
  const auto* const kernels = elementwise_kernels(gate_up);
  if (kernels == nullptr) {
    const auto halves = gate_up.chunk(2, -1);
    return at::silu(halves[0]) * halves[1];
  }
  const auto rows = gate_up.contiguous();
  const int64_t width = rows.size(1) / 2;
  auto out = at::empty({rows.size(0), width}, rows.options());
  const SwigluRows work{rows.const_data_ptr<float>(), out.mutable_data_ptr<float>(), width};
  count_moved({rows, out});
  for_rows(rows.size(0), width, [&](int64_t begin, int64_t end) { kernels->swiglu(work, begin, end); });
  return out;
}

struct SwigluFunction : torch::autograd::Function<SwigluFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate_up) {
    context->save_for_backward({gate_up});
    return swiglu_rows(gate_up);
  }
  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto gate_up = context->get_saved_variables()[0].contiguous();
    const auto dout = grads[0].contiguous();
    auto dgate_up = at::empty_like(gate_up);
    const auto* const kernels = elementwise_kernels(gate_up);
    if (kernels == nullptr) {
      const auto halves = gate_up.chunk(2, -1), gradients = dgate_up.chunk(2, -1);
      gradients[0].copy_(at::silu_backward(dout * halves[1], halves[0]));
      gradients[1].copy_(dout * at::silu(halves[0]));
      return {dgate_up};
    }
    const SwigluGradRows work{gate_up.const_data_ptr<float>(), dout.const_data_ptr<float>(), dgate_up.mutable_data_ptr<float>(), dout.size(1)};
    count_moved({gate_up, dout, dgate_up});
    for_rows(dout.size(0), 2 * dout.size(1), [&](int64_t begin, int64_t end) { kernels->swiglu_grad(work, begin, end); });
    return {dgate_up};
  }
};

at::Tensor gated_sum_rows(const at::Tensor& x, const at::Tensor& scaled, const at::Tensor& gate) {
  TORCH_CHECK(x.dim() == 2 && scaled.sizes() == x.sizes() && gate.numel() == 1, "a gate of ", gate.sizes(), " between ", x.sizes(), " and ",
              scaled.sizes());
  const auto* const kernels = elementwise_kernels(x);
  if (kernels == nullptr) return x + gate.to(x.scalar_type()) * scaled;
  const auto x_rows = x.contiguous(), scaled_rows = scaled.contiguous();
  auto out = at::empty_like(x_rows);
  const GatedSumRows work{x_rows.const_data_ptr<float>(), scaled_rows.const_data_ptr<float>(), gate.const_data_ptr<float>(),
                          out.mutable_data_ptr<float>(), x.size(1)};
  count_moved({x_rows, scaled_rows, gate, out});
  for_rows(x.size(0), work.width, [&](int64_t begin, int64_t end) { kernels->gated_sum(work, begin, end); });
  return out;
}

struct GatedSumFunction : torch::autograd::Function<GatedSumFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& scaled, const at::Tensor& gate) {
    context->save_for_backward({scaled, gate});
    return gated_sum_rows(x, scaled, gate);
  }
  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const auto scaled = saved[0].contiguous(), gate = saved[1], dout = grads[0].contiguous();
    const auto* const kernels = elementwise_kernels(scaled);
    if (kernels == nullptr) return {dout, gate.to(dout.scalar_type()) * dout, (dout * scaled).sum(gate.scalar_type())};
    auto dscaled = at::empty_like(scaled), dgate = at::empty({scaled.size(0)}, scaled.options());
    const GatedSumGradRows work{.scaled = scaled.const_data_ptr<float>(),
                                .gate = gate.const_data_ptr<float>(),
                                .dout = dout.const_data_ptr<float>(),
                                .dscaled = dscaled.mutable_data_ptr<float>(),
                                .dgate = dgate.mutable_data_ptr<float>(),
                                .width = scaled.size(1)};
    count_moved({scaled, gate, dout, dscaled, dgate});
    for_rows(scaled.size(0), work.width, [&](int64_t begin, int64_t end) { kernels->gated_sum_grad(work, begin, end); });
    return {dout, dscaled, dgate.sum()};
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return at::GradMode::is_enabled() ? NormFunction::apply(x, std::nullopt, weight, eps)[0] : norm(x, {}, weight, eps).y;
}

SumAndNorm add_rms_norm(const at::Tensor& x, const at::Tensor& added, const at::Tensor& weight, double eps) {
  if (!at::GradMode::is_enabled()) {
    const auto result = norm(x, added, weight, eps);
    return {result.sum, result.y};
  }
  const auto result = NormFunction::apply(x, added, weight, eps);
  return {result[1], result[0]};
}

at::Tensor swiglu(const at::Tensor& gate_up) {
  return at::GradMode::is_enabled() ? SwigluFunction::apply(gate_up) : swiglu_rows(gate_up);
}

at::Tensor gated_sum(const at::Tensor& x, const at::Tensor& scaled, const at::Tensor& gate) {
  return at::GradMode::is_enabled() ? GatedSumFunction::apply(x, scaled, gate) : gated_sum_rows(x, scaled, gate);
}

void use_elementwise_kernels(bool use) { kernels_are_used = use; }

const ElementwiseKernels* elementwise_kernels(const at::Tensor& x) {
  const bool ours = x.device().is_cpu() && x.scalar_type() == at::kFloat && kernels_are_used.load(std::memory_order_relaxed);
  return ours ? &fastest_elementwise_kernels() : nullptr;
}

}  // namespace layalign::model
