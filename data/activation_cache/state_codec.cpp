#include "data/activation_cache/state_codec.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <bit>
#include <string>
#include <utility>

#include "data/error.h"

// Shape letters: N rows, G groups of a row, De encoder width, R bytes of a row.

namespace layalign::data {
namespace {

// Of a float32's bits. All steps that choose a scale are on integers: exact, so equal on every device.
constexpr int64_t kMantissaBits = 23;
constexpr int64_t kMantissaMask = (1 << kMantissaBits) - 1;
constexpr int64_t kMantissaOf464 = 0x680000;  // 464 = 1.8125 * 2^8
constexpr int64_t kExponentOf464 = 8;
constexpr int64_t kExponentBias = 127;
constexpr int64_t kBitsOfSmallest = 0x2000;  // 2^-136: half of e4m3's smallest number times the smallest scale

/// One pass: the least and the largest number are NaN where any is.
void require_finite(const at::Tensor& states, CacheDtype dtype) {
  if (states.numel() == 0) return;
  const auto [least, largest] = at::aminmax(states);
  if (at::isfinite(at::stack({least, largest})).all().item<bool>()) return;
  throw DataError("encoder states that cannot be stored as " + std::string(name_of(dtype)) +
                  ": NaN, infinity or a number too large");
}

/// 2^(exponent - 127) for exponents from 1 to 254.
at::Tensor power_of_two(const at::Tensor& exponents) {
  return exponents.to(at::kInt).bitwise_left_shift(kMantissaBits).view(at::kFloat);
}

/// The scale bytes [N, G] as int32 of the largest numbers' magnitudes [N, G].
at::Tensor scale_exponents(const at::Tensor& largest_NG) {
  const auto bits = largest_NG.view(at::kInt);
  const auto above = bits.bitwise_and(kMantissaMask).gt(kMantissaOf464);
  const auto exponents = (bits.bitwise_right_shift(kMantissaBits) - kExponentOf464 + above).clamp_min(1);
  return exponents.masked_fill(bits <= kBitsOfSmallest, kExponentBias).to(at::kInt);
}

at::Tensor encode_float8(const at::Tensor& states, int64_t width) {
  const int64_t groups = scales_of(width);
  const auto numbers_ND = states.to(at::kFloat).reshape({-1, width});
  require_finite(numbers_ND, CacheDtype::kFloat8);
  const int64_t padding = groups * kScaleGroup - width;
  const auto padded_NGK = (padding == 0 ? numbers_ND : at::constant_pad_nd(numbers_ND, {0, padding})).view({-1, groups, kScaleGroup});
  const auto exponents_NG = scale_exponents(padded_NGK.abs().amax(-1));
  // Multiplied by the inverse of a power of two, which is exact; clamped, for 448 to 464 is not e4m3's to round.
  const auto inverse_NG1 = power_of_two(2 * kExponentBias - exponents_NG).unsqueeze(-1);
  const auto scaled_NGK = (padded_NGK * inverse_NG1).clamp_(-448.0, 448.0);
  const auto bytes_ND =
      scaled_NGK.reshape({-1, groups * kScaleGroup}).narrow(1, 0, width).contiguous().to(at::kFloat8_e4m3fn).view(at::kByte);
  return at::cat({bytes_ND, exponents_NG.to(at::kByte)}, 1);
}

/// One row of numbers and the scales behind them. A number's bits, moved to where float32 has them, are it divided by 2^120.
void decode_float8_row(const uint8_t* row, int64_t width, float* numbers) {
  constexpr float kBias = 0x1p120f;  // of float32's exponents over e4m3's
  const uint8_t* scales = row + width;
  for (int64_t begin = 0; begin < width; begin += kScaleGroup) {
    const float scale = std::bit_cast<float>(static_cast<uint32_t>(scales[begin / kScaleGroup]) << kMantissaBits);
    const auto decode = [&](int64_t i) {
      const uint32_t bits = row[i];
      numbers[i] = std::bit_cast<float>((bits & 0x80) << 24 | (bits & 0x7f) << 20) * kBias * scale;
    };
    if (begin + kScaleGroup <= width) {
      for (int64_t i = 0; i < kScaleGroup; ++i) decode(begin + i);
    } else {
      for (int64_t i = begin; i < width; ++i) decode(i);
    }
  }
}

at::Tensor decode_float8_on_cpu(const at::Tensor& rows, int64_t width) {
  const auto rows_NR = rows.reshape({-1, rows.size(-1)}).contiguous();
  const auto numbers_ND = at::empty({rows_NR.size(0), width}, at::kFloat);
  const auto* bytes = rows_NR.const_data_ptr<uint8_t>();
  auto* numbers = numbers_ND.mutable_data_ptr<float>();
  const int64_t row_bytes = rows_NR.size(1), grain = std::max<int64_t>(1, 32768 / width);
  at::parallel_for(0, rows_NR.size(0), grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) decode_float8_row(bytes + row * row_bytes, width, numbers + row * width);
  });
  return numbers_ND;
}

at::Tensor decode_float8(const at::Tensor& rows, int64_t width) {
  if (rows.is_cpu()) return decode_float8_on_cpu(rows, width);
  const int64_t groups = scales_of(width);
  const auto rows_NR = rows.reshape({-1, rows.size(-1)});
  const auto numbers_ND = rows_NR.narrow(1, 0, width).contiguous().view(at::kFloat8_e4m3fn).to(at::kFloat);
  const auto scales_NG = power_of_two(rows_NR.narrow(1, width, groups).to(at::kInt));
  if (width % kScaleGroup == 0) {
    return (numbers_ND.view({-1, groups, kScaleGroup}) * scales_NG.unsqueeze(-1)).view({-1, width});
  }
  return numbers_ND * scales_NG.repeat_interleave(kScaleGroup, 1).narrow(1, 0, width);
}

std::vector<int64_t> with_last(at::IntArrayRef sizes, int64_t last) {
  auto changed = sizes.vec();
  changed.back() = last;
  return changed;
}

}  // namespace

at::Tensor encode_rows(const at::Tensor& states, CacheDtype dtype) {
  TORCH_CHECK(states.dim() >= 1 && states.size(-1) >= 1 && states.is_floating_point(),
              "expected floating-point states [..., De], got ", states.sizes(), " of ", states.scalar_type());
  const int64_t width = states.size(-1);
  if (dtype == CacheDtype::kFloat8) {
    return encode_float8(states, width).view(with_last(states.sizes(), row_bytes(dtype, width)));
  }
  const auto numbers = states.to(dtype == CacheDtype::kFloat32 ? at::kFloat : at::kBFloat16).contiguous();
  require_finite(numbers, dtype);
  return numbers.view(at::kByte);
}

at::Tensor decode_rows(const at::Tensor& rows, CacheDtype dtype, int64_t width, at::ScalarType type) {
  TORCH_CHECK(rows.dim() >= 1 && rows.scalar_type() == at::kByte && rows.size(-1) == row_bytes(dtype, width),
              "expected uint8 rows of ", row_bytes(dtype, width), " bytes, got ", rows.sizes(), " of ",
              rows.scalar_type());
  if (dtype == CacheDtype::kFloat8) {
    return decode_float8(rows, width).view(with_last(rows.sizes(), width)).to(type);
  }
  return rows.contiguous().view(dtype == CacheDtype::kFloat32 ? at::kFloat : at::kBFloat16).to(type);
}

}  // namespace layalign::data
