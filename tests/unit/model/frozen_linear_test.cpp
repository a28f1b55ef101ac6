#include "model/frozen_linear.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "model/few_rows_kernel.h"

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

class FrozenLinear : public testing::Test {
 protected:
  void SetUp() override { at::manual_seed(0); }
  at::NoGradGuard no_grad_;
};

TEST_F(FrozenLinear, IsTheProductInDouble) {
  for (const auto& [rows, inner, columns] : shapes()) {
    const auto x = at::randn({rows, inner}), weight = at::randn({columns, inner}), bias = at::randn({columns});
    const auto exact = at::linear(x.to(at::kDouble), weight.to(at::kDouble));
    // A sum of `inner` products errs by less than their absolute sum times a few roundings.
    const auto bound = at::linear(x.abs(), weight.abs()).max().item<double>() * 16 * 6e-8 + 1e-6;
    EXPECT_LE((frozen_linear(x, weight).to(at::kDouble) - exact).abs().max().item<double>(), bound)
        << rows << " x " << inner << " x " << columns;
    EXPECT_LE((frozen_linear(x, weight, bias).to(at::kDouble) - exact - bias.to(at::kDouble)).abs().max().item<double>(), bound)
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

TEST_F(FrozenLinear, EveryKernelOfThisMachine) {
  const auto x = at::randn({5, 100}), weight = at::randn({10, 100});
  const auto exact = at::linear(x.to(at::kDouble), weight.to(at::kDouble));
  std::vector<FewRowsKernel> kernels = {baseline::few_rows_kernel};
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) kernels.push_back(avx2::few_rows_kernel);
#endif
  for (const auto kernel : kernels) {
    auto y = at::zeros({5, 10});
    kernel({x.const_data_ptr<float>(), weight.const_data_ptr<float>(), nullptr, y.mutable_data_ptr<float>(), 5, 100, 10}, 2, 9);
    EXPECT_LE((y.to(at::kDouble) - exact).narrow(1, 2, 7).abs().max().item<double>(), 1e-4);
    EXPECT_EQ(y.narrow(1, 0, 2).abs().max().item<float>() + y.narrow(1, 9, 1).abs().max().item<float>(), 0) << "other columns";
  }
}

TEST_F(FrozenLinear, KeepsTheShapeAndTakesStrides) {
  const auto x = at::randn({6, 2, 3}).transpose(1, 2), weight = at::randn({4, 5}).narrow(1, 0, 2);
  EXPECT_TRUE(at::allclose(frozen_linear(x, weight), at::linear(x, weight), 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(frozen_linear(x, weight.contiguous()), at::linear(x, weight), 1e-5, 1e-6));
  EXPECT_EQ(frozen_linear(at::zeros({0, 2}), weight).sizes(), at::IntArrayRef({0, 4}));
}

TEST_F(FrozenLinear, GivesAGradientWhereOneIsWanted) {
  at::AutoGradMode grad(true);
  const auto x = at::randn({3, 8}).requires_grad_(), weight = at::randn({4, 8});
  frozen_linear(x, weight).sum().backward();
  EXPECT_TRUE(at::allclose(x.grad(), weight.sum(0).expand({3, 8}), 1e-5, 1e-6));
}

TEST_F(FrozenLinear, RefusesOtherWidths) { EXPECT_THROW(frozen_linear(at::zeros({2, 3}), at::zeros({4, 5})), c10::Error); }

}  // namespace
}  // namespace layalign::model
