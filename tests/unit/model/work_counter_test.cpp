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
