#include "trainer/frozen_check.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <bit>
#include <limits>

namespace layalign::trainer {
namespace {

/// Flips one bit of a tensor's memory.
void flip(const at::Tensor& tensor, int64_t byte, int bit) { static_cast<uint8_t*>(tensor.mutable_data_ptr())[byte] ^= uint8_t(1) << bit; }

TEST(FrozenCheck, NoticesEveryBit) {
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const auto matrix = at::arange(15, at::kFloat).reshape({3, 5}).to(type), vector = at::ones({4}).to(type);
    FrozenCheck check;
    EXPECT_EQ(check.changed({matrix, vector}), 0);
    for (int64_t byte = 0; byte < static_cast<int64_t>(matrix.nbytes()); ++byte) {
      for (int bit = 0; bit < 8; ++bit) {
        flip(matrix, byte, bit);
        EXPECT_EQ(check.changed({matrix, vector}), 1) << "byte " << byte << " bit " << bit;
        flip(matrix, byte, bit);
        EXPECT_EQ(check.changed({matrix, vector}), 1) << "back";
        EXPECT_EQ(check.changed({matrix, vector}), 0);
      }
    }
  }
}

TEST(FrozenCheck, TakesWeightsThatAreLoadedLater) {
  const auto first = at::ones({8}), later = at::full({8}, std::numeric_limits<float>::quiet_NaN());
  FrozenCheck check;
  EXPECT_EQ(check.changed({}), 0);
  EXPECT_EQ(check.changed({first}), 0);
  EXPECT_EQ(check.changed({first, later}), 0);
  flip(first, 3, 7);
  flip(later, 0, 0);
  EXPECT_EQ(check.changed({first, later}), 2);
}

}  // namespace
}  // namespace layalign::trainer
