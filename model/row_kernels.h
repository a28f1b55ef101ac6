#pragma once

#include <cstdint>

namespace layalign::model {

/// y[m, n] = sum over k of x[m, k] w[n, k], plus bias[n] where there is one. Row-major; the rows of y lie `y_stride` apart. A sum's
/// order depends on `inner` alone: a row gives the same bits among any others.
struct RowProduct {
  const float* x;
  const float* w;
  const float* bias;  ///< or nullptr
  float* y;
  int64_t rows, inner, y_stride;
};

/// One query row of each sequence n and head attends to the first lengths[n] rows of that sequence's keys and values:
///   out[n, g, r] = softmax(scale * q[n, g, r] . k[n, t, g] over t) . v[n, t, g]
/// q and out [N, G, R, dh] with R query heads of each key-value head g; k and v [N, capacity, G, dh]. dh is a multiple of 8.
struct RowAttention {
  const float* q;
  const float* k;
  const float* v;
  float* out;
  const int64_t* lengths;  ///< [N], each at least 1
  int64_t capacity, kv_heads, group, head_dim;
  float scale;
};

/// One source compiled for several instruction sets, which differ in the rounding of a product that is added.
struct RowKernels {
  /// Columns [begin, end) of y.
  void (*product)(const RowProduct& product, int64_t begin, int64_t end);
  /// Key-value heads [begin, end) of the N G there are. `scores`: room for (end - begin) R floats times the longest length.
  void (*attention)(const RowAttention& attention, int64_t begin, int64_t end, float* scores);
};

namespace baseline {
extern const RowKernels kRowKernels;
}
namespace avx2 {
extern const RowKernels kRowKernels;
}

}  // namespace layalign::model
