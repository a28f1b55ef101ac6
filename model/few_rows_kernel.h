#pragma once

#include <cstdint>

namespace layalign::model {

/// y[m, n] = sum over k of x[m, k] w[n, k], plus bias[n] where there is one, for n in [begin, end). Row-major; the rows of y lie
/// `y_stride` apart. A sum's order depends on `inner` alone: a row gives the same bits among any others.
struct FewRowsProduct {
  const float* x;
  const float* w;
  const float* bias;  ///< or nullptr
  float* y;
  int64_t rows, inner, y_stride;
};

/// The same source compiled for several instruction sets (the two differ in the rounding of a multiplied and added term).
using FewRowsKernel = void (*)(const FewRowsProduct& product, int64_t begin, int64_t end);

namespace baseline {
void few_rows_kernel(const FewRowsProduct& product, int64_t begin, int64_t end);
}
namespace avx2 {
void few_rows_kernel(const FewRowsProduct& product, int64_t begin, int64_t end);
}

}  // namespace layalign::model
