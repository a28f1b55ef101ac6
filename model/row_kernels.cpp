// Compiled once for each instruction set, into the namespace LAYALIGN_INSTRUCTIONS (lanes.h).

#include "model/row_kernels.h"

#include "model/lanes.h"

namespace layalign::model::LAYALIGN_INSTRUCTIONS {
namespace {

// Products, 4 rows by 3 columns: 12 sums stay in the 16 registers, and 7 loads serve 12 multiplications.
constexpr int kRows = 4;
constexpr int kColumns = 3;
constexpr int kUnrolled = 2;

/// The sums over the lanes of four vectors.
inline void sum_lanes(const Lanes (&of)[kRows], float (&sums)[kRows]) {
  constexpr Places kFirst = {0, 8, 1, 9, 4, 12, 5, 13}, kSecond = {2, 10, 3, 11, 6, 14, 7, 15};
  const Lanes pair01 = __builtin_shuffle(of[0], of[1], kFirst) + __builtin_shuffle(of[0], of[1], kSecond);
  const Lanes pair23 = __builtin_shuffle(of[2], of[3], kFirst) + __builtin_shuffle(of[2], of[3], kSecond);
  const Lanes halves = __builtin_shuffle(pair01, pair23, Places{0, 1, 8, 9, 4, 5, 12, 13}) +
                       __builtin_shuffle(pair01, pair23, Places{2, 3, 10, 11, 6, 7, 14, 15});
  for (int i = 0; i < kRows; ++i) sums[i] = halves[i] + halves[i + kRows];
}

/// Rows [m, m + M) by columns [n, n + N). `ahead`: columns past these whose weights are fetched meanwhile; 0 for none.
template <int M, int N>
inline void tile(const RowProduct& p, int64_t m, int64_t n, int64_t ahead) {
  const int64_t K = p.inner;
  const float* x = p.x + m * K;
  const float* w = p.w + n * K;
  Lanes sums[N][kRows] = {};
  int64_t k = 0;
  for (; k + kUnrolled * kLanes <= K; k += kUnrolled * kLanes) {
    if (ahead > 0) {
      for (int j = 0; j < N; ++j) __builtin_prefetch(w + (ahead + j) * K + k);
    }
    for (int u = 0; u < kUnrolled; ++u) {
      Lanes weights[N];
      for (int j = 0; j < N; ++j) weights[j] = lanes(w + j * K + k + u * kLanes);
      for (int i = 0; i < M; ++i) {
        const Lanes row = lanes(x + i * K + k + u * kLanes);
        for (int j = 0; j < N; ++j) sums[j][i] += row * weights[j];
      }
    }
  }
  for (int j = 0; j < N; ++j) {
    float total[kRows];
    sum_lanes(sums[j], total);
    for (int i = 0; i < M; ++i) {
      for (int64_t rest = k; rest < K; ++rest) total[i] += x[i * K + rest] * w[j * K + rest];
      p.y[(m + i) * p.y_stride + n + j] = p.bias ? total[i] + p.bias[n + j] : total[i];
    }
  }
}

/// All rows of columns [n, n + N): the first tile brings the weights, the others find them in the nearest cache.
template <int N>
inline void columns(const RowProduct& p, int64_t n, int64_t ahead) {
  int64_t m = 0;
  for (; m + kRows <= p.rows; m += kRows) tile<kRows, N>(p, m, n, m == 0 ? ahead : 0);
  switch (p.rows - m) {
    case 1:
      return tile<1, N>(p, m, n, m == 0 ? ahead : 0);
    case 2:
      return tile<2, N>(p, m, n, m == 0 ? ahead : 0);
    case 3:
      return tile<3, N>(p, m, n, m == 0 ? ahead : 0);
  }
}

void product(const RowProduct& p, int64_t begin, int64_t end) {
  int64_t n = begin;
  for (; n + kColumns <= end; n += kColumns) columns<kColumns>(p, n, n + 2 * kColumns <= end ? kColumns : 0);
  for (; n < end; ++n) columns<1>(p, n, 0);
}

constexpr int kTokens = 4;  // that a pass over keys or values takes at once

/// The rows of tokens t .. t + 3 of a sequence's keys or values, the last one again where there are fewer.
struct TokenRows {
  TokenRows(const float* first, int64_t t, int64_t length, int64_t stride) {
    for (int i = 0; i < kTokens; ++i) rows[i] = first + (t + i < length ? t + i : length - 1) * stride;
  }
  const float* rows[kTokens];
};

/// q . k of four tokens.
inline void dots(const float* q, const TokenRows& k, int64_t head, int64_t head_dim, float (&results)[kTokens]) {
  Lanes sums[kTokens] = {};
  for (int64_t i = 0; i < head_dim; i += kLanes) {
    const Lanes query = lanes(q + i);
    for (int t = 0; t < kTokens; ++t) sums[t] += query * lanes(k.rows[t] + head * head_dim + i);
  }
  sum_lanes(sums, results);
}

/// Turns scores into exp(score - largest), and returns their sum.
inline float exponentials(float* scores, int64_t length) {
  float largest = scores[0], sum = 0;
  for (int64_t t = 1; t < length; ++t) largest = scores[t] > largest ? scores[t] : largest;
  for (int64_t t = 0; t < length; ++t) sum += scores[t] = __builtin_expf(scores[t] - largest);
  return sum;
}

/// Heads [first, last) of sequence n, tokens outside and heads inside: the rows of a token lie together in memory.
void attend(const RowAttention& a, int64_t n, int64_t first, int64_t last, float* scores) {
  const int64_t length = a.lengths[n], d = a.head_dim, token = a.kv_heads * d;
  const float* k = a.k + n * a.capacity * token;
  const float* v = a.v + n * a.capacity * token;
  const float* q = a.q + n * token * a.group;
  float* out = a.out + n * token * a.group;
  const int64_t begin = first * a.group, end = last * a.group;  // query heads
  for (int64_t t = 0; t < length; t += kTokens) {
    const TokenRows rows(k, t, length, token);
    for (int64_t h = begin; h < end; ++h) {
      float results[kTokens];
      dots(q + h * d, rows, h / a.group, d, results);
      for (int i = 0; i < kTokens && t + i < length; ++i) scores[(h - begin) * length + t + i] = a.scale * results[i];
    }
  }
  for (int64_t h = begin; h < end; ++h) {
    float* row = scores + (h - begin) * length;
    const float scale = 1 / exponentials(row, length);
    for (int64_t t = 0; t < length; ++t) row[t] *= scale;
    for (int64_t i = 0; i < d; i += kLanes) lanes(out + h * d + i) = Lanes{};
  }
  for (int64_t t = 0; t < length; t += kTokens) {
    const TokenRows rows(v, t, length, token);
    for (int64_t h = begin; h < end; ++h) {
      float weights[kTokens] = {};
      for (int i = 0; i < kTokens && t + i < length; ++i) weights[i] = scores[(h - begin) * length + t + i];
      for (int64_t i = 0; i < d; i += kLanes) {
        Lanes sum = lanes(out + h * d + i);
        for (int j = 0; j < kTokens; ++j) sum += weights[j] * lanes(rows.rows[j] + h / a.group * d + i);
        lanes(out + h * d + i) = sum;
      }
    }
  }
}

void attention(const RowAttention& a, int64_t begin, int64_t end, float* scores) {
  while (begin < end) {
    const int64_t n = begin / a.kv_heads, first = begin % a.kv_heads;
    const int64_t left = a.kv_heads - first, count = left < end - begin ? left : end - begin;
    attend(a, n, first, first + count, scores);
    begin += count;
  }
}

}  // namespace

extern const RowKernels kRowKernels = {product, attention};

}  // namespace layalign::model::LAYALIGN_INSTRUCTIONS
