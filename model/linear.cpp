#include "model/linear.h"

#include <ATen/Context.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>
#include <string_view>

namespace layalign::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// oneDNN's product x W^T + bias as LibTorch registers it: with a function behind it, of which none is wanted.
using OneDnnLinear = at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                                std::string_view, c10::List<std::optional<at::Scalar>>,
                                std::optional<std::string_view>);

/// Below, finding the code for a shape takes longer than the product (measured).
constexpr int64_t kLeastMultiplications = int64_t{1} << 20;

std::optional<c10::OperatorHandle> one_dnn_linear() {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_is("intel") == 0) {
    return c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});
  }
#endif
  return std::nullopt;
}

const std::optional<c10::OperatorHandle>& fast_linear() {
  static const auto found = one_dnn_linear();
  return found;
}

/// x [M, K], weight [N, K].
bool is_faster(const at::Tensor& x, const at::Tensor& weight) {
  return x.device().is_cpu() && x.scalar_type() == at::kFloat && weight.scalar_type() == at::kFloat &&
         x.numel() * weight.size(0) >= kLeastMultiplications && fast_linear() &&
         at::globalContext().userEnabledMkldnn();
}

at::Tensor fast(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias) {
  return fast_linear()->typed<OneDnnLinear>().call(x, weight, bias, "none", c10::List<std::optional<at::Scalar>>(), "");
}

struct FastLinear : torch::autograd::Function<FastLinear> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x_MK, const at::Tensor& weight_NK,
                            const std::optional<at::Tensor>& bias_N) {
    context->save_for_backward({weight_NK.requires_grad() ? x_MK : at::Tensor(), weight_NK});
    context->saved_data["bias"] = bias_N.has_value();
    return fast(x_MK, weight_NK, bias_N);
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    const auto grad_MN = grads[0].contiguous();
    const bool bias_wants_one = context->saved_data["bias"].toBool() && context->needs_input_grad(2);
    return {context->needs_input_grad(0) ? product(grad_MN, saved[1]) : at::Tensor(),
            context->needs_input_grad(1) ? product(grad_MN.t(), saved[0]) : at::Tensor(),
            bias_wants_one ? grad_MN.sum(0) : at::Tensor()};
  }
};

}  // namespace

at::Tensor apply_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (!is_faster(x, weight)) return at::linear(x, weight, bias);
  auto shape = x.sizes().vec();
  const auto x_MK = x.reshape({-1, shape.back()});
  shape.back() = weight.size(0);
  const auto bias_N = bias.defined() ? std::optional(bias) : std::nullopt;
  return (at::GradMode::is_enabled() ? FastLinear::apply(x_MK, weight, bias_N) : fast(x_MK, weight, bias_N)).view(shape);
}

at::Tensor product(const at::Tensor& a, const at::Tensor& b) {
  return is_faster(a, b.t()) ? fast(a, b.t(), std::nullopt) : at::mm(a, b);
}

}  // namespace layalign::model
