// Compiled once for each instruction set, into the namespace LAYALIGN_INSTRUCTIONS (lanes.h).

#include "model/elementwise_kernels.h"

#include "model/lanes.h"

namespace layalign::model::LAYALIGN_INSTRUCTIONS {
namespace {

constexpr int kSums = 4;  // vectors that a sum goes to in turn

inline float total(const Lanes& of) {
  float sum = 0;
  for (int i = 0; i < kLanes; ++i) sum += of[i];
  return sum;
}

/// The sum of value(i) over a row: vectors of eight, the rest one by one. `wide(i)` gives the vector at i, `single(i)` a number.
template <typename Wide, typename Single>
inline float row_sum(int64_t width, Wide wide, Single single) {
  Lanes sums[kSums] = {};
  int64_t i = 0;
  for (; i + kSums * kLanes <= width; i += kSums * kLanes) {
    for (int s = 0; s < kSums; ++s) sums[s] += wide(i + s * kLanes);
  }
  for (; i + kLanes <= width; i += kLanes) sums[0] += wide(i);
  float rest = 0;
  for (; i < width; ++i) rest += single(i);
  return total((sums[0] + sums[1]) + (sums[2] + sums[3])) + rest;
}

/// Calls wide(i) for each whole vector of a row, and single(i) for the rest.
template <typename Wide, typename Single>
inline void each(int64_t width, Wide wide, Single single) {
  int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) wide(i);
  for (; i < width; ++i) single(i);
}

void norm(const NormRows& n, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float* x = n.x + row * n.width;
    if (n.added != nullptr) {
      const float* added = n.added + row * n.width;
      float* sum = n.sum + row * n.width;
      each(n.width, [&](int64_t i) { lanes(sum + i) = lanes(x + i) + lanes(added + i); },
           [&](int64_t i) { sum[i] = x[i] + added[i]; });
      x = sum;
    }
    const float squares = row_sum(n.width, [&](int64_t i) { return lanes(x + i) * lanes(x + i); }, [&](int64_t i) { return x[i] * x[i]; });
    const float inverse = 1 / __builtin_sqrtf(squares / static_cast<float>(n.width) + n.eps);
    n.inverse[row] = inverse;
    float* y = n.y + row * n.width;
    each(n.width, [&](int64_t i) { lanes(y + i) = lanes(x + i) * inverse * lanes(n.weight + i); },
         [&](int64_t i) { y[i] = x[i] * inverse * n.weight[i]; });
  }
}

void norm_grad(const NormGradRows& n, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float *x = n.sum + row * n.width, *dy = n.dy + row * n.width, *w = n.weight;
    const float *dsum = n.dsum == nullptr ? nullptr : n.dsum + row * n.width, inverse = n.inverse[row];
    float* dx = n.dx + row * n.width;
    const float dot = row_sum(n.width, [&](int64_t i) { return lanes(dy + i) * lanes(w + i) * lanes(x + i); },
                              [&](int64_t i) { return dy[i] * w[i] * x[i]; });
    const float along = inverse * inverse * inverse * dot / static_cast<float>(n.width);
    each(n.width, [&](int64_t i) { lanes(dx + i) = inverse * lanes(w + i) * lanes(dy + i) - along * lanes(x + i); },
         [&](int64_t i) { dx[i] = inverse * w[i] * dy[i] - along * x[i]; });
    if (dsum == nullptr) continue;
    each(n.width, [&](int64_t i) { lanes(dx + i) += lanes(dsum + i); }, [&](int64_t i) { dx[i] += dsum[i]; });
  }
}

void rotate(const RotateRows& r, int64_t begin, int64_t end) {
  const int64_t half = r.head_dim / 2;
  const float sign = r.inverse ? -1.0F : 1.0F;
  for (int64_t row = begin; row < end; ++row) {
    const float *cos = r.cos + row * r.head_dim, *sin = r.sin + row * r.head_dim;
    for (int64_t head = 0; head < r.heads; ++head) {
      const float* from = r.from + row * r.from_stride + head * r.head_dim;
      float* to = r.to + row * r.to_stride + head * r.head_dim;
      each(
          half,
          [&](int64_t i) {
            const Lanes a = lanes(from + i), b = lanes(from + half + i), c = lanes(cos + i), s = sign * lanes(sin + i);
            lanes(to + i) = a * c - b * s;
            lanes(to + half + i) = b * c + a * s;
          },
          [&](int64_t i) {
            const float a = from[i], b = from[half + i], c = cos[i], s = sign * sin[i];
            to[i] = a * c - b * s;
            to[half + i] = b * c + a * s;
          });
    }
  }
}

/// e^x with an error of two units in the last place at most; beyond +-87 that of the border. NaN stays NaN. The coefficients are those of
/// the Cephes library (S. L. Moshier).
inline Lanes exponential(Lanes x) {
  constexpr float kBorder = 87, kLog2E = 1.44269504F, kLn2High = 0.693359375F, kLn2Low = -2.12194440e-4F;
  constexpr float kRound = 12582912;  // 1.5 * 2^23: adding it rounds to an integer
  x = x > kBorder ? Lanes{} + kBorder : x;
  x = x < -kBorder ? Lanes{} - kBorder : x;
  const Lanes shifted = x * kLog2E + kRound;
  const Lanes power = shifted - kRound;
  const Lanes r = x - power * kLn2High - power * kLn2Low;
  Lanes p = Lanes{} + 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  const Lanes e = p * r * r + r + 1;
  // The integer is in the lowest bits; as an exponent it is a power of two.
  return e * __builtin_bit_cast(Lanes, (__builtin_bit_cast(Places, shifted) << 23) + (127 << 23));
}

/// The vector at `from`, of which only `count` values are there; the others are 0.
inline Lanes part(const float* from, int64_t count) {
  Lanes x = {};
  for (int64_t i = 0; i < count; ++i) x[i] = from[i];
  return x;
}

inline void store_part(float* to, const Lanes& x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = x[i];
}

inline Lanes sigmoid(const Lanes& x) { return 1 / (1 + exponential(-x)); }

void swiglu(const SwigluRows& s, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float *gate = s.gate_up + row * 2 * s.width, *up = gate + s.width;
    float* out = s.out + row * s.width;
    int64_t i = 0;
    for (; i + kLanes <= s.width; i += kLanes) lanes(out + i) = lanes(gate + i) * sigmoid(lanes(gate + i)) * lanes(up + i);
    const int64_t left = s.width - i;
    const Lanes g = part(gate + i, left);
    store_part(out + i, g * sigmoid(g) * part(up + i, left), left);
  }
}

struct SwigluGrad {
  Lanes gate, up;
};

inline SwigluGrad swiglu_grad(const Lanes& gate, const Lanes& up, const Lanes& dout) {
  const Lanes s = sigmoid(gate);
  return {dout * up * s * (1 + gate * (1 - s)), dout * gate * s};
}

void swiglu_grad(const SwigluGradRows& s, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float *gate = s.gate_up + row * 2 * s.width, *up = gate + s.width, *dout = s.dout + row * s.width;
    float *dgate = s.dgate_up + row * 2 * s.width, *dup = dgate + s.width;
    int64_t i = 0;
    for (; i + kLanes <= s.width; i += kLanes) {
      const SwigluGrad grad = swiglu_grad(lanes(gate + i), lanes(up + i), lanes(dout + i));
      lanes(dgate + i) = grad.gate;
      lanes(dup + i) = grad.up;
    }
    const int64_t left = s.width - i;
    const SwigluGrad grad = swiglu_grad(part(gate + i, left), part(up + i, left), part(dout + i, left));
    store_part(dgate + i, grad.gate, left);
    store_part(dup + i, grad.up, left);
  }
}

void gated_sum(const GatedSumRows& g, int64_t begin, int64_t end) {
  const float gate = *g.gate;
  const float *x = g.x + begin * g.width, *scaled = g.scaled + begin * g.width;
  float* out = g.out + begin * g.width;
  each((end - begin) * g.width, [&](int64_t i) { lanes(out + i) = lanes(x + i) + gate * lanes(scaled + i); },
       [&](int64_t i) { out[i] = x[i] + gate * scaled[i]; });
}

void gated_sum_grad(const GatedSumGradRows& g, int64_t begin, int64_t end) {
  const float gate = *g.gate;
  for (int64_t row = begin; row < end; ++row) {
    const float *scaled = g.scaled + row * g.width, *dout = g.dout + row * g.width;
    float* dscaled = g.dscaled + row * g.width;
    g.dgate[row] = row_sum(g.width, [&](int64_t i) { return lanes(scaled + i) * lanes(dout + i); }, [&](int64_t i) { return scaled[i] * dout[i]; });
    each(g.width, [&](int64_t i) { lanes(dscaled + i) = gate * lanes(dout + i); }, [&](int64_t i) { dscaled[i] = gate * dout[i]; });
  }
}

}  // namespace

extern const ElementwiseKernels kElementwiseKernels = {norm, norm_grad, rotate, swiglu, swiglu_grad, gated_sum, gated_sum_grad};

}  // namespace layalign::model::LAYALIGN_INSTRUCTIONS
