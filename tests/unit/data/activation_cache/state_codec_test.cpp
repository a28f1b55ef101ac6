#include "data/activation_cache/state_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "data/error.h"
#include "tests/unit/data/activation_cache/cache_files.h"

namespace layalign::data {
namespace {

using ::testing::HasSubstr;

at::Tensor there_and_back(const at::Tensor& states, CacheDtype dtype, at::ScalarType type = at::kFloat) {
  return decode_rows(encode_rows(states, dtype), dtype, states.size(-1), type);
}

/// Normal numbers times 2^0 to 2^17, another factor for each row: up to about 5e5.
at::Tensor wide_states(int64_t rows, int64_t width) {
  at::manual_seed(7);
  return at::randn({rows, width}) * at::pow(2.0, at::arange(rows).remainder(18)).unsqueeze(1);
}

TEST(StateCodec, RowsHaveTheBytesOfTheFormat) {
  EXPECT_EQ(row_bytes(CacheDtype::kFloat32, 40), 160);
  EXPECT_EQ(row_bytes(CacheDtype::kBfloat16, 40), 80);
  EXPECT_EQ(row_bytes(CacheDtype::kFloat8, 40), 42);
  EXPECT_EQ(row_bytes(CacheDtype::kFloat8, 64), 66);
  EXPECT_EQ(encode_rows(at::zeros({2, 3, 40}), CacheDtype::kFloat8).sizes(), at::IntArrayRef({2, 3, 42}));
}

TEST(StateCodec, Float32IsExact) {
  const auto states = at::cat({wide_states(20, 33), at::full({1, 33}, 1e-42), at::full({1, 33}, 3.4e38)});
  EXPECT_TRUE(same_bytes(there_and_back(states, CacheDtype::kFloat32), states));
}

TEST(StateCodec, Bfloat16IsTheConversionOfTorch) {
  const auto states = wide_states(20, 33);
  EXPECT_TRUE(same_bytes(there_and_back(states, CacheDtype::kBfloat16), states.to(at::kBFloat16).to(at::kFloat)));
  const auto computed = states.to(at::kBFloat16);
  EXPECT_TRUE(same_bytes(there_and_back(computed, CacheDtype::kBfloat16, at::kBFloat16), computed));
}

TEST(StateCodec, Float8IsWithinItsBound) {
  for (int64_t width : {1, 31, 32, 33, 64, 100}) {
    const auto states = wide_states(200, width);
    const auto decoded = there_and_back(states, CacheDtype::kFloat8);
    // 1/16 of the number for the three mantissa bits, and 2^-10 of the scale below e4m3's smallest normal number; the
    // scale is at most 1/232 of the largest number of the group, here of the row.
    const auto bound = at::maximum(states.abs() / 16, states.abs().amax(1, true) / 232 / 1024);
    EXPECT_TRUE(((decoded - states).abs() <= bound).all().item<bool>()) << width;
  }
}

TEST(StateCodec, EveryFloat8ByteIsReadAsTorchReadsIt) {
  for (const int64_t width : {32, 40}) {  // whole groups, and a last one that is not
    std::vector<at::Tensor> rows;
    for (int code = 0; code < 256; ++code) {
      if ((code & 0x7f) == 0x7f) continue;  // NaN, which is never stored
      for (const int scale : {1, 100, 127, 128, 246}) {
        rows.push_back(at::cat({at::full({width}, code, at::kByte), at::full({(width + 31) / 32}, scale, at::kByte)}));
      }
    }
    const auto rows_NR = at::stack(rows);
    const auto numbers = rows_NR.narrow(1, 0, width).contiguous().view(at::kFloat8_e4m3fn).to(at::kFloat);
    const auto scales = at::pow(2.0, rows_NR.narrow(1, width, 1).to(at::kDouble) - 127).to(at::kFloat);
    EXPECT_TRUE(same_bytes(decode_rows(rows_NR, CacheDtype::kFloat8, width, at::kFloat), numbers * scales));
  }
}

TEST(StateCodec, Float8ScalesAreTheSmallestPowersOfTwo) {
  const std::vector<std::pair<float, int>> cases = {
      {0.0f, 127},   {1.0f, 119},    {448.0f, 127}, {464.0f, 127}, {464.5f, 128},  {232.0f, 126}, {232.5f, 127},
      {2.8e5f, 137}, {-2.8e5f, 137}, {1e-38f, 1},   {3e38f, 246},  {3.4e38f, 247}, {1e-42f, 127}};
  for (const auto& [largest, scale] : cases) {
    auto states = at::zeros({1, 32});
    states[0][5] = largest;
    const auto rows = encode_rows(states, CacheDtype::kFloat8);
    EXPECT_EQ(rows[0][32].item<int>(), scale) << largest;
  }
}

TEST(StateCodec, Float8KeepsZerosPowersOfTwoAndHugeNumbers) {
  auto states = at::zeros({3, 40});
  states[1][3] = -0.0f;
  states[2][0] = 2.8e5f;  // as T5's states reach
  states[2][1] = 2048.0f;
  states[2][39] = 0.015625f;  // of the last, shorter group, with a scale of its own
  const auto decoded = there_and_back(states, CacheDtype::kFloat8);
  EXPECT_TRUE(same_bytes(decoded.slice(0, 0, 2), states.slice(0, 0, 2)));
  EXPECT_NEAR(decoded[2][0].item<float>(), 2.8e5f, 2.8e5f / 16);
  EXPECT_EQ(decoded[2][1].item<float>(), 2048.0f);
  EXPECT_EQ(decoded[2][39].item<float>(), 0.015625f);
}

TEST(StateCodec, WhatWasDecodedIsEncodedAsTheSameBytes) {
  const auto states = at::cat({wide_states(400, 45), wide_states(20, 45) * 1e-38, wide_states(20, 45) * 1e-44});
  for (CacheDtype dtype : {CacheDtype::kFloat32, CacheDtype::kBfloat16, CacheDtype::kFloat8}) {
    const auto rows = encode_rows(states, dtype);
    EXPECT_TRUE(same_bytes(encode_rows(decode_rows(rows, dtype, 45, at::kFloat), dtype), rows)) << name_of(dtype);
  }
}

TEST(StateCodec, ARowDoesNotDependOnItsNeighbours) {
  const auto states = wide_states(9, 70);
  for (CacheDtype dtype : {CacheDtype::kFloat32, CacheDtype::kBfloat16, CacheDtype::kFloat8}) {
    const auto rows = encode_rows(states.view({3, 3, 70}), dtype);
    EXPECT_TRUE(same_bytes(rows[1][2], encode_rows(states[5], dtype)));
    const auto part = decode_rows(rows.narrow(1, 1, 2), dtype, 70, at::kFloat);  // not contiguous
    EXPECT_TRUE(same_bytes(part, decode_rows(rows, dtype, 70, at::kFloat).narrow(1, 1, 2)));
  }
}

TEST(StateCodec, WhatCannotBeStoredIsRefused) {
  const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  for (CacheDtype dtype : {CacheDtype::kFloat32, CacheDtype::kBfloat16, CacheDtype::kFloat8}) {
    for (float bad : {infinity, -infinity, nan}) {
      auto states = at::ones({2, 40});
      states[1][39] = bad;
      EXPECT_THAT(message_of<DataError>([&] { encode_rows(states, dtype); }), HasSubstr(std::string(name_of(dtype))));
    }
  }
  EXPECT_THROW(encode_rows(at::full({1, 4}, 3.4e38), CacheDtype::kBfloat16), DataError);
  EXPECT_THROW(encode_rows(at::full({1, 4}, 1e300, at::kDouble), CacheDtype::kFloat32), DataError);
  EXPECT_THROW(decode_rows(at::zeros({1, 41}, at::kByte), CacheDtype::kFloat8, 40, at::kFloat), c10::Error);
}

}  // namespace
}  // namespace layalign::data
