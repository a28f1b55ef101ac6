#include "model/recompute.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "model/t5_encoder.h"

namespace layalign::model {
namespace {

TEST(Recompute, SameValuesAndGradientsAsACall) {
  const auto piece = [](const std::vector<at::Tensor>& in) -> std::vector<at::Tensor> {
    return {(in[0] * in[1]).sin(), in[2] * in[1].sum()};
  };
  const auto run = [&](bool recomputed) {
    at::manual_seed(0);
    std::vector<at::Tensor> in = {at::randn({4}), at::randn({4}).requires_grad_(), at::randn({2}).requires_grad_()};
    const auto out = recomputed ? recompute(piece, in) : piece(in);
    (out[0].sum() + (out[1] * out[1]).sum()).backward();
    return std::vector<at::Tensor>{out[0].detach(), out[1].detach(), in[1].grad(), in[2].grad()};
  };
  const auto plain = run(false), again = run(true);
  for (size_t i = 0; i < plain.size(); ++i) EXPECT_TRUE(at::equal(plain[i], again[i])) << i;
}

TEST(Recompute, RunsOnceMoreInBackwardAndNestsAndCostsNothingWithoutGradients) {
  int calls = 0;
  const auto inner = [&](const std::vector<at::Tensor>& in) -> std::vector<at::Tensor> { return ++calls, std::vector{in[0].exp()}; };
  const auto outer = [&](const std::vector<at::Tensor>& in) -> std::vector<at::Tensor> { return recompute(inner, in); };
  const auto x = at::ones({1}).requires_grad_();
  recompute(outer, {x})[0].backward();
  EXPECT_EQ(calls, 3);  // forward; in backward of the outer forward again, then the inner's own backward
  EXPECT_NEAR(x.grad().item<double>(), std::exp(1.0), 1e-6);
  calls = 0;
  at::NoGradGuard no_grad;
  EXPECT_FALSE(recompute(outer, {x})[0].requires_grad());
  EXPECT_EQ(calls, 1);
}

TEST(T5, RelativePositionBuckets) {
  // Made with transformers' T5Attention._relative_position_bucket(bidirectional=True, num_buckets=32, max_distance=128).
  const auto distances = at::tensor({-200, -128, -100, -20, -8, -7, -1, 0, 1, 7, 8, 20, 100, 128, 200}, at::kLong);
  const auto expected = at::tensor({15, 15, 15, 10, 8, 7, 1, 0, 17, 23, 24, 26, 31, 31, 31}, at::kLong);
  EXPECT_TRUE(at::equal(relative_position_buckets(distances, 32, 128), expected));
}

}  // namespace
}  // namespace layalign::model
