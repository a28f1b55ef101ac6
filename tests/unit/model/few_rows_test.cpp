#include "model/few_rows.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "model/row_kernels.h"

namespace layalign::model {
namespace {

struct Shape {
  int64_t rows, inner, columns;
};

/// Odd sizes: sums that 16 does not divide, columns that 3 does not divide, one row to more than the kernel takes.
std::vector<Shape> shapes() {
  std::vector<Shape> all;
  for (int64_t rows : {1, 2, 3, 4, 5, 8, 11, 16, 17}) {
    for (int64_t inner : {1, 7, 8, 16, 37, 768}) {
      for (int64_t columns : {1, 2, 3, 4, 64, 1001}) all.push_back({rows, inner, columns});
    }
  }
  return all;
}

class FewRows : public testing::Test {
 protected:
  void SetUp() override { at::manual_seed(0); }
  c10::InferenceMode inference_;
};
using FrozenLinear = FewRows;
using SingleQueryAttention = FewRows;
using RowKernelsOfThisMachine = FewRows;

std::vector<const RowKernels*> kernels() {
  std::vector<const RowKernels*> all = {&baseline::kRowKernels};
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) all.push_back(&avx2::kRowKernels);
#endif
  return all;
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

TEST_F(FrozenLinear, IsTheProductInDouble) {
  for (const auto& [rows, inner, columns] : shapes()) {
    const auto x = at::randn({rows, inner}), weight = at::randn({columns, inner}), bias = at::randn({columns});
    const auto exact = at::linear(x.to(at::kDouble), weight.to(at::kDouble));
    // A sum of `inner` products errs by less than their absolute sum times a few roundings.
    const auto bound = at::linear(x.abs(), weight.abs()).max().item<double>() * 16 * 6e-8 + 1e-6;
    EXPECT_LE(largest_difference(frozen_linear(x, weight), exact), bound)
        << rows << " x " << inner << " x " << columns;
    EXPECT_LE(largest_difference(frozen_linear(x, weight, bias), exact + bias), bound)
        << rows << " x " << inner << " x " << columns << ", with a bias";
  }
}

TEST_F(FrozenLinear, ARowIsTheSameBitsAmongAnyOthersAndWithAnyThreads) {
  const auto x = at::randn({16, 333}), weight = at::randn({1500, 333});
  const auto all = frozen_linear(x, weight);
  const int threads = at::get_num_threads();
  for (int64_t rows = 1; rows <= 16; ++rows) {
    EXPECT_TRUE(at::equal(frozen_linear(x.narrow(0, 16 - rows, rows), weight), all.narrow(0, 16 - rows, rows))) << rows;
  }
  at::set_num_threads(1);
  EXPECT_TRUE(at::equal(frozen_linear(x, weight), all));
  at::set_num_threads(threads);
}

TEST_F(FrozenLinear, KeepsTheShapeAndTakesStrides) {
  const auto x = at::randn({6, 2, 3}).transpose(1, 2), weight = at::randn({4, 5}).narrow(1, 0, 2);
  EXPECT_TRUE(at::allclose(frozen_linear(x, weight), at::linear(x, weight), 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(frozen_linear(x, weight.contiguous()), at::linear(x, weight), 1e-5, 1e-6));
  EXPECT_EQ(frozen_linear(at::zeros({0, 2}), weight).sizes(), at::IntArrayRef({0, 4}));
}

TEST_F(FrozenLinear, GivesAGradientWhereOneIsWanted) {
  c10::InferenceMode outside(false);
  const auto x = at::randn({3, 8}).requires_grad_(), weight = at::randn({4, 8});
  frozen_linear(x, weight).sum().backward();
  EXPECT_TRUE(at::allclose(x.grad(), weight.sum(0).expand({3, 8}), 1e-5, 1e-6));
}

TEST_F(FrozenLinear, IsTheSameProductWithAndWithoutAGradient) {
  c10::InferenceMode outside(false);
  const auto x = at::randn({3, 768}).requires_grad_(), weight = at::randn({1001, 768});
  const auto with = frozen_linear(x, weight);
  at::NoGradGuard no_grad;
  EXPECT_TRUE(at::equal(frozen_linear(x, weight), with));
}

TEST_F(FrozenLinear, RefusesOtherWidths) { EXPECT_THROW(frozen_linear(at::zeros({2, 3}), at::zeros({4, 5})), c10::Error); }

struct Sequences {
  at::Tensor q, k, v, mask;
  std::vector<int64_t> lengths;
};

Sequences sequences(std::vector<int64_t> lengths, int64_t kv_heads, int64_t group, int64_t head_dim) {
  const auto N = static_cast<int64_t>(lengths.size()), longest = *std::max_element(lengths.begin(), lengths.end());
  const int64_t capacity = longest + 3;
  Sequences made{at::randn({N, kv_heads * group, head_dim}), at::randn({N, capacity, kv_heads, head_dim}),
                 at::randn({N, capacity, kv_heads, head_dim}), at::zeros({N, 1, 1, longest}), lengths};
  for (int64_t n = 0; n < N; ++n) made.mask[n].narrow(2, lengths[n], longest - lengths[n]).fill_(-INFINITY);
  return made;
}

/// Each sequence by itself, in double.
at::Tensor exact_attention(const Sequences& s, double scale) {
  std::vector<at::Tensor> rows;
  const int64_t G = s.k.size(2), R = s.q.size(1) / G, dh = s.q.size(2);
  for (size_t n = 0; n < s.lengths.size(); ++n) {
    const auto valid = [&](const at::Tensor& all) { return all[n].narrow(0, 0, s.lengths[n]).transpose(0, 1).to(at::kDouble); };
    const auto q = s.q[n].view({G, R, dh}).to(at::kDouble);
    rows.push_back(at::matmul(at::softmax(at::matmul(q, valid(s.k).transpose(1, 2)) * scale, -1), valid(s.v)).flatten());
  }
  return at::stack(rows);
}

TEST_F(SingleQueryAttention, IsEachSequenceByItself) {
  for (const auto& lengths : std::vector<std::vector<int64_t>>{{1}, {4, 1, 3}, {7, 130, 2, 64, 65}}) {
    for (const auto& [kv_heads, group] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {12, 1}, {2, 4}, {3, 7}}) {
      for (int64_t head_dim : {8, 64, 12}) {  // 12: not the kernels
        const auto s = sequences(lengths, kv_heads, group, head_dim);
        const double scale = 1 / std::sqrt(head_dim);
        const auto got = single_query_attention(s.q, s.k, s.v, s.lengths, s.mask, scale);
        // Weighted means of values of about one: a few roundings of float32.
        EXPECT_LE(largest_difference(got, exact_attention(s, scale)), 3e-6) << kv_heads << " x " << group << " x " << head_dim;
      }
    }
  }
}

TEST_F(SingleQueryAttention, IsTheSameBitsAmongAnyOthersAndWithAnyThreads) {
  const auto s = sequences({90, 5, 200, 33}, 4, 2, 64);
  const auto all = single_query_attention(s.q, s.k, s.v, s.lengths, s.mask, 0.125);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  EXPECT_TRUE(at::equal(single_query_attention(s.q, s.k, s.v, s.lengths, s.mask, 0.125), all));
  at::set_num_threads(threads);
  for (int64_t n = 0; n < 4; ++n) {
    const auto one = [&](const at::Tensor& x) { return x.narrow(0, n, 1); };
    const auto alone = single_query_attention(one(s.q), one(s.k), one(s.v), {s.lengths[n]}, one(s.mask), 0.125);
    EXPECT_TRUE(at::equal(alone, one(all))) << n;
  }
}

TEST_F(SingleQueryAttention, TakesLargeScores) {
  auto s = sequences({3}, 1, 1, 8);
  s.q.fill_(1e4);
  const auto got = single_query_attention(s.q, s.k, s.v, s.lengths, s.mask, 1.0);
  EXPECT_LE(largest_difference(got, exact_attention(s, 1.0)), 1e-6);
}

TEST_F(RowKernelsOfThisMachine, FillTheirShareOnly) {
  const auto x = at::randn({5, 100}), weight = at::randn({10, 100});
  const auto exact = at::linear(x.to(at::kDouble), weight.to(at::kDouble));
  for (const auto* kernel : kernels()) {
    auto y = at::zeros({5, 10});
    kernel->product({x.const_data_ptr<float>(), weight.const_data_ptr<float>(), nullptr, y.mutable_data_ptr<float>(), 5, 100, 10}, 2, 9);
    EXPECT_LE(largest_difference(y.narrow(1, 2, 7), exact.narrow(1, 2, 7)), 1e-4);
    EXPECT_EQ(y.narrow(1, 0, 2).abs().max().item<float>() + y.narrow(1, 9, 1).abs().max().item<float>(), 0) << "other columns";
  }
  const auto s = sequences({6, 9}, 3, 2, 16);
  const auto attended = exact_attention(s, 0.25).view({6, 2 * 16});
  for (const auto* kernel : kernels()) {
    auto out = at::zeros({6, 2 * 16});
    std::vector<float> scores(3 * 2 * 9);
    kernel->attention({s.q.const_data_ptr<float>(), s.k.const_data_ptr<float>(), s.v.const_data_ptr<float>(), out.mutable_data_ptr<float>(),
                       s.lengths.data(), s.k.size(1), 3, 2, 16, 0.25F}, 2, 5, scores.data());
    EXPECT_LE(largest_difference(out.narrow(0, 2, 3), attended.narrow(0, 2, 3)), 3e-6);
    EXPECT_EQ(out.narrow(0, 0, 2).abs().max().item<float>() + out[5].abs().max().item<float>(), 0) << "other heads";
  }
}

}  // namespace
}  // namespace layalign::model
