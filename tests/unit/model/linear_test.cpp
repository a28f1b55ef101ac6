#include "model/linear.h"

#include <ATen/Context.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>

namespace layalign::model {
namespace {

/// With LibTorch's oneDNN where it is the faster one, and without.
class Linear : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    at::manual_seed(7);
    at::globalContext().setUserEnabledMkldnn(GetParam());
  }
  void TearDown() override { at::globalContext().setUserEnabledMkldnn(true); }

  static at::Tensor random(at::IntArrayRef shape) { return at::randn(shape); }

  /// Partial sums of n products of numbers of about 1 are about sqrt(n), and each of n additions rounds one by up to
  /// 2^-24 of it, up or down: together about n 2^-25. The largest among ten thousand such errors is four times as
  /// large, twice that is allowed.
  static void expect_close(const at::Tensor& got, const at::Tensor& exact, int64_t terms) {
    ASSERT_EQ(got.sizes(), exact.sizes());
    if (got.numel() == 0) return;
    const double tolerance = 8 * static_cast<double>(std::max<int64_t>(terms, 4)) * std::pow(2.0, -25);
    EXPECT_LT((got.to(at::kDouble) - exact).abs().max().item<double>(), tolerance);
  }
};

TEST_P(Linear, AgreesWithFloat64InValueAndEveryGradient) {
  constexpr int64_t kIn = 384, kOut = 192;
  for (const bool with_bias : {true, false}) {
    for (const auto& shape : {std::vector<int64_t>{70, kIn}, {2, 35, kIn}, {1, kIn}, {0, kIn}}) {
      const auto x = random(shape).set_requires_grad(true);
      const auto weight = random({kOut, kIn}).set_requires_grad(true);
      const auto bias = with_bias ? random({kOut}).set_requires_grad(true) : at::Tensor();
      const auto y = apply_linear(x, weight, bias);
      const auto direction = random(y.sizes());
      const auto exact_x = x.detach().to(at::kDouble), exact_weight = weight.detach().to(at::kDouble);
      const auto exact_direction = direction.to(at::kDouble).reshape({-1, kOut});
      const int64_t rows = exact_direction.size(0);
      expect_close(y.detach(),
                   at::linear(exact_x, exact_weight, with_bias ? bias.detach().to(at::kDouble) : at::Tensor()), kIn);

      std::vector<at::Tensor> inputs{x, weight};
      if (with_bias) inputs.push_back(bias);
      const auto gradients = torch::autograd::grad({y}, inputs, {direction});
      expect_close(gradients[0], at::mm(exact_direction, exact_weight).reshape(shape), kOut);
      expect_close(gradients[1], at::mm(exact_direction.t(), exact_x.reshape({-1, kIn})), rows);
      if (with_bias) expect_close(gradients[2], exact_direction.sum(0), rows);
    }
  }
}

TEST_P(Linear, AFrozenWeightGetsNoGradient) {
  const auto x = random({90, 256}).set_requires_grad(true);
  const auto weight = random({128, 256});
  apply_linear(x, weight).sum().backward();
  expect_close(x.grad(), weight.to(at::kDouble).sum(0).expand({90, 256}), 128);
  EXPECT_FALSE(weight.grad().defined());
}

TEST_P(Linear, OfStridedRowsAndInAnotherTypeIsTheSame) {
  const auto wide = random({300, 512});
  const auto x = wide.narrow(1, 128, 256);
  const auto weight = random({256, 256}).t();
  expect_close(apply_linear(x, weight), at::mm(x.to(at::kDouble), weight.to(at::kDouble).t()), 256);
  const auto low = apply_linear(x.to(at::kBFloat16), weight.to(at::kBFloat16));
  EXPECT_EQ(low.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(at::allclose(apply_linear(x.to(at::kDouble), weight.to(at::kDouble)),
                           at::mm(x.to(at::kDouble), weight.to(at::kDouble).t())));
}

TEST_P(Linear, ProductTakesAnyStrides) {
  const auto a = random({150, 200}), b = random({200, 170});
  const auto exact = at::mm(a.to(at::kDouble), b.to(at::kDouble));
  expect_close(product(a, b), exact, 200);
  expect_close(product(a.t().contiguous().t(), b.t().contiguous().t()), exact, 200);
}

INSTANTIATE_TEST_SUITE_P(OneDnn, Linear, testing::Bool(), [](const auto& info) { return info.param ? "On" : "Off"; });

}  // namespace
}  // namespace layalign::model
