#pragma once

#include <cstdint>

namespace layalign::model {

// Each kernel does rows [begin, end) of contiguous float32 rows, and reads each from memory once: what it needs again is in the nearest
// cache. A row gives the same bits among any others.

/// sum = x + added (where `added` is given), inverse = 1 / sqrt(mean(sum^2) + eps), y = sum * inverse * weight.
struct NormRows {
  const float* x;
  const float* added;   ///< or nullptr: then sum is x, and not written
  const float* weight;  ///< [width]
  float* sum;
  float* y;
  float* inverse;  ///< a number a row
  int64_t width;
  float eps;
};

/// Gradient of NormRows for `sum`, `dsum` being what comes to it from elsewhere.
struct NormGradRows {
  const float* sum;
  const float* inverse;
  const float* weight;
  const float* dy;
  const float* dsum;  ///< or nullptr
  float* dx;
  int64_t width;
};

/// Rotary embedding of the heads of each row: (a, b) -> (a cos - b sin, b cos + a sin) for the halves of a head; `inverse` turns back.
/// Rows lie their strides apart; `to` may be `from`.
struct RotateRows {
  const float* from;
  int64_t from_stride;
  float* to;
  int64_t to_stride;
  const float* cos;  ///< [rows, head_dim], its halves are equal
  const float* sin;
  int64_t heads, head_dim;
  bool inverse;
};

/// out = silu(gate) * up.
struct SwigluRows {
  const float* gate_up;  ///< [2 width] a row
  float* out;            ///< [width] a row
  int64_t width;
};

struct SwigluGradRows {
  const float* gate_up;
  const float* dout;
  float* dgate_up;
  int64_t width;
};

/// out = x + gate * scaled.
struct GatedSumRows {
  const float* x;
  const float* scaled;
  const float* gate;  ///< one number
  float* out;
  int64_t width;
};

struct GatedSumGradRows {
  const float* scaled;
  const float* gate;
  const float* dout;
  float* dscaled;
  float* dgate;  ///< a number a row, to be summed
  int64_t width;
};

/// One source compiled for several instruction sets, as row_kernels.h.
struct ElementwiseKernels {
  void (*norm)(const NormRows&, int64_t begin, int64_t end);
  void (*norm_grad)(const NormGradRows&, int64_t begin, int64_t end);
  void (*rotate)(const RotateRows&, int64_t begin, int64_t end);
  void (*swiglu)(const SwigluRows&, int64_t begin, int64_t end);
  void (*swiglu_grad)(const SwigluGradRows&, int64_t begin, int64_t end);
  void (*gated_sum)(const GatedSumRows&, int64_t begin, int64_t end);
  void (*gated_sum_grad)(const GatedSumGradRows&, int64_t begin, int64_t end);
};

namespace baseline {
extern const ElementwiseKernels kElementwiseKernels;
}
namespace avx2 {
extern const ElementwiseKernels kElementwiseKernels;
}

}  // namespace layalign::model
