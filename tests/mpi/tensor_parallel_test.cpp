#include "dist/tensor_parallel.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/types.h>

#include "dist/process_grid.h"
#include "tests/mpi/test_process.h"

namespace {

using layalign::dist::Communicator;
using layalign::dist::copy_to_tensor_parallel;
using layalign::dist::reduce_from_tensor_parallel;
using layalign::dist::shard_of;

// A group of all ranks, fresh counters for each test.
Communicator new_group() {
  const int ranks = test_process()->world_size();
  return layalign::dist::make_grid(test_process(), ranks, "cpu", "auto").tp;
}

int64_t expected_calls(const Communicator& tp, int64_t calls) { return tp.size() == 1 ? 0 : calls; }

TEST(CopyToTensorParallel, is_the_identity_forward_and_sums_backward) {
  const Communicator tp = new_group();
  const at::Tensor x = torch::arange(4.0, at::requires_grad());
  const at::Tensor y = copy_to_tensor_parallel(x, tp);
  EXPECT_TRUE(at::equal(y, x));
  EXPECT_EQ(tp.sequence(), 0);
  (y * (tp.rank() + 1.0)).sum().backward();
  EXPECT_TRUE(at::equal(x.grad(), at::full({4}, tp.size() * (tp.size() + 1) / 2.0))) << x.grad();
  EXPECT_EQ(tp.sequence(), expected_calls(tp, 1));
}

TEST(CopyToTensorParallel, makes_no_node_where_none_is_needed) {
  const Communicator tp = new_group();
  EXPECT_FALSE(copy_to_tensor_parallel(at::ones({2}), tp).grad_fn());
  const at::Tensor x = torch::ones({2}, at::requires_grad());
  EXPECT_TRUE(copy_to_tensor_parallel(x, Communicator()).is_same(x));
  at::NoGradGuard no_grad;
  EXPECT_TRUE(copy_to_tensor_parallel(x, tp).is_same(x));
}

TEST(CopyToTensorParallel, leaves_a_shared_gradient_alone) {
  const Communicator tp = new_group();
  const at::Tensor x = torch::ones({3}, at::requires_grad());
  const at::Tensor grad = at::full({3}, 2.0);
  copy_to_tensor_parallel(x, tp).backward(grad);
  EXPECT_TRUE(at::equal(grad, at::full({3}, 2.0))) << grad;
  EXPECT_TRUE(at::equal(x.grad(), at::full({3}, 2.0 * tp.size()))) << x.grad();
}

TEST(ReduceFromTensorParallel, sums_forward_and_is_the_identity_backward) {
  const Communicator tp = new_group();
  const at::Tensor x = torch::full({3}, tp.rank() + 1.0, at::requires_grad());
  const at::Tensor y = reduce_from_tensor_parallel(x, tp);
  EXPECT_TRUE(at::equal(y, at::full({3}, tp.size() * (tp.size() + 1) / 2.0))) << y;
  EXPECT_TRUE(at::equal(x, at::full({3}, tp.rank() + 1.0))) << "the input, which the caller holds, was changed";
  (y * 5).sum().backward();
  EXPECT_TRUE(at::equal(x.grad(), at::full({3}, 5.0))) << x.grad();
  EXPECT_EQ(tp.sequence(), expected_calls(tp, 1));
}

TEST(ReduceFromTensorParallel, reduces_in_place_only_what_nobody_else_holds) {
  const Communicator tp = new_group();
  at::Tensor x = at::ones({8});
  const void* memory = x.data_ptr();
  EXPECT_EQ(reduce_from_tensor_parallel(std::move(x), tp).data_ptr(), memory);

  const at::Tensor base = at::ones({8});
  reduce_from_tensor_parallel(base.slice(0, 0, 4), tp);  // a temporary, but a view of memory that is still in use
  EXPECT_TRUE(at::equal(base, at::ones({8}))) << base;

  // relu saves its result for backward: the temporary is not ours alone.
  const at::Tensor leaf = torch::full({4}, tp.rank() == 0 ? 1.0 : -1.0, at::requires_grad());
  const at::Tensor y = reduce_from_tensor_parallel(at::relu(leaf), tp);
  EXPECT_TRUE(at::equal(y, at::ones({4}))) << y;
  y.sum().backward();
  EXPECT_TRUE(at::equal(leaf.grad(), at::full({4}, tp.rank() == 0 ? 1.0 : 0.0))) << leaf.grad();
}

TEST(TensorParallel, operations_are_differentiable_twice) {
  const Communicator tp = new_group();
  const double size = tp.size();
  const at::Tensor x = torch::full({1}, 3.0, at::TensorOptions(at::kDouble).requires_grad(true));
  const at::Tensor y = reduce_from_tensor_parallel(copy_to_tensor_parallel(x, tp).pow(3), tp);
  const auto grads = torch::autograd::grad({y}, {x}, {}, true, true);
  EXPECT_DOUBLE_EQ(grads[0].item<double>(), 27 * size);
  const auto second = torch::autograd::grad({grads[0]}, {x});
  // y is the sum of x^3 over the ranks, all of which share x: y' = 3 x^2 * size, y'' = 6 x * size.
  EXPECT_DOUBLE_EQ(second[0].item<double>(), 18 * size);
}

// A column-parallel layer, a nonlinearity and a row-parallel layer against the unsharded pair; the inner width does not
// divide.
struct LayerPair {
  static constexpr int64_t kTokens = 5, kWidth = 8, kInner = 13;
  at::Tensor x, first, second;  // [tokens, width], [inner, width], [width, inner]

  LayerPair() {
    at::manual_seed(7);
    const auto options = at::TensorOptions(at::kDouble);
    x = at::randn({kTokens, kWidth}, options).set_requires_grad(true);
    first = at::randn({kInner, kWidth}, options).set_requires_grad(true);
    second = at::randn({kWidth, kInner}, options).set_requires_grad(true);
  }
};

at::Tensor shard_rows(const at::Tensor& weight, const Communicator& tp) {
  const auto shard = shard_of(weight.size(0), tp.rank(), tp.size());
  at::Tensor part = at::zeros({shard.size, weight.size(1)}, weight.options());
  part.slice(0, 0, shard.end - shard.begin).copy_(weight.detach().slice(0, shard.begin, shard.end));
  return part.set_requires_grad(true);
}

TEST(TensorParallel, column_then_row_parallel_equals_the_unsharded_pair) {
  const Communicator tp = new_group();
  LayerPair whole, sharded;
  const at::Tensor expected = at::linear(at::silu(at::linear(whole.x, whole.first)), whole.second);
  expected.pow(2).sum().backward();

  const at::Tensor first = shard_rows(sharded.first, tp);
  const at::Tensor second_T = shard_rows(sharded.second.detach().t().contiguous(), tp);
  const at::Tensor hidden = at::silu(at::linear(copy_to_tensor_parallel(sharded.x, tp), first));
  const at::Tensor y = reduce_from_tensor_parallel(at::mm(hidden, second_T), tp);
  y.pow(2).sum().backward();

  // float64 over sums of 13 terms: only the order of the additions differs.
  const auto close = [](const at::Tensor& a, const at::Tensor& b) { return at::allclose(a, b, 1e-12, 1e-12); };
  EXPECT_TRUE(close(y, expected));
  EXPECT_TRUE(close(sharded.x.grad(), whole.x.grad()));
  const auto shard = shard_of(LayerPair::kInner, tp.rank(), tp.size());
  const auto real = [&](const at::Tensor& grad) { return grad.slice(0, 0, shard.end - shard.begin); };
  EXPECT_TRUE(close(real(first.grad()), whole.first.grad().slice(0, shard.begin, shard.end)));
  EXPECT_TRUE(close(real(second_T.grad()), whole.second.grad().t().slice(0, shard.begin, shard.end)));
  EXPECT_EQ(tp.traffic().all_reduce.calls, expected_calls(tp, 2));  // one forward, one backward
}

}  // namespace
