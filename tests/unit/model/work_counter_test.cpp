#include "model/work_counter.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>

#include "model/elementwise.h"

namespace layalign::model {
namespace {

WorkCount counted(const std::function<void()>& work) {
  const WorkCounter counter(at::kCPU);
  work();
  return counter.count();
}

int64_t moved(const std::function<void()>& work) { return counted(work).moved_bytes; }

TEST(MovedBytes, AreThoseOfArgumentsAndResults) {
  const auto x = at::randn({10, 100}), y = at::randn({10, 100});
  EXPECT_EQ(moved([&] { at::add(x, y); }), 3 * 4000);
  EXPECT_EQ(moved([&] { y.mul_(x); }), 3 * 4000) << "in place: two are read, one is written";
  EXPECT_EQ(moved([&] { y.copy_(x); }), 2 * 4000) << "what it writes it does not read";
  EXPECT_EQ(moved([&] { y.zero_(); }), 4000);
  EXPECT_EQ(moved([&] { at::cat({x, y}); }), 4 * 4000);
  EXPECT_EQ(moved([&] { x.t().contiguous(); }), 2 * 4000);
}

TEST(MovedBytes, AreThoseOfOperatorsThatCallOthersToo) {
  const auto x = at::randn({10, 100});
  EXPECT_EQ(moved([&] { x.sum(1); }), 4000 + 40);
  EXPECT_EQ(moved([&] { x.mean(-1, true); }), 4000 + 40 + 2 * 40 + 8) << "a sum, divided in place by a number of 8 bytes";
  EXPECT_EQ(moved([&] { x.square(); }), 2 * 4000);
  EXPECT_EQ(moved([&] { at::linalg_vector_norm(x); }), 4000 + 4);
  EXPECT_EQ(moved([&] { x.softmax(1); }), 2 * 4000);
  const auto weight = at::ones(100);
  EXPECT_EQ(moved([&] { at::layer_norm(x, {100}, weight, weight); }), 2 * 4000 + 2 * 400 + 2 * 40) << "a mean and a deviation a row too";
  auto out = at::empty({10, 100});
  EXPECT_EQ(moved([&] { at::add_out(out, x, x); }), 3 * 4000);
}

TEST(MovedBytes, OfATableAreThoseLookedUp) {
  const auto table = at::randn({1000, 100}), ids = at::arange(10);
  EXPECT_EQ(moved([&] { table.index_select(0, ids); }), 2 * 4000 + 80);
  EXPECT_EQ(moved([&] { at::embedding(table, ids); }), 2 * 4000 + 80);
}

TEST(MovedBytes, OfTheOptimiserAreGradientsAndTwiceWhatItChanges) {
  const std::vector<at::Tensor> one = {at::randn({1000})}, gradient = {at::randn({1000})}, moment = {at::zeros({1000})},
                                second = {at::zeros({1000})}, step = {at::zeros({})};
  const auto update = [&] { at::_fused_adamw_(one, gradient, moment, second, {}, step, 1e-3, 0.9, 0.999, 0.0, 1e-8, false, false); };
  EXPECT_EQ(moved(update), 7 * 4000 + 2 * 4);
}

TEST(MovedBytes, OfViewsProductsAndMemoryAreNone) {
  const auto x = at::randn({10, 100}), y = at::randn({100, 10});
  EXPECT_EQ(moved([&] { x.t().narrow(0, 2, 3).unsqueeze(0); }), 0);
  EXPECT_EQ(moved([&] { x.contiguous().to(at::kFloat); }), 0) << "already so";
  EXPECT_EQ(moved([&] { at::empty({1000}); }), 0);
  EXPECT_EQ(moved([&] { at::mm(x, y); }), 0);
  EXPECT_GT(counted([&] { at::mm(x, y); }).flops.total(), 0);
  const auto q = at::randn({1, 2, 8, 16});
  EXPECT_EQ(moved([&] { at::scaled_dot_product_attention(q, q, q); }), 0);
}

TEST(MovedBytes, OfAnExpandedTensorAreThoseOfItsMemory) {
  const auto row = at::randn({1, 100});
  EXPECT_EQ(moved([&] { row.expand({10, 100}).contiguous(); }), 400 + 4000);
}

TEST(MovedBytes, OfOurKernelsInBothDirections) {
  const auto gate_up = at::randn({50, 64}).set_requires_grad(true);  // 12,800 bytes
  at::Tensor out;
  EXPECT_EQ(moved([&] { out = swiglu(gate_up); }), 12800 + 6400);
  const auto dout = at::randn(out.sizes());
  EXPECT_EQ(moved([&] { torch::autograd::grad({out}, {gate_up}, {dout}); }), 12800 + 6400 + 12800);
  use_elementwise_kernels(false);
  const int64_t by_operators = moved([&] { out = swiglu(gate_up.detach()); });
  use_elementwise_kernels(true);
  EXPECT_EQ(by_operators, 2 * 6400 + 3 * 6400) << "silu reads and writes; the product reads two and writes one";
}

}  // namespace
}  // namespace layalign::model
