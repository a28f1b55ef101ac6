#include "trainer/frozen_check.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <limits>

#include "checkpoints_tools/error.h"
#include "checkpoints_tools/safetensors.h"
#include "tests/unit/trainer/scratch_folder.h"

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

/// What is said of these weights, loaded from `folder`; empty: nothing.
std::string refusal(const std::vector<at::Tensor>& weights, const std::filesystem::path& folder) {
  try {
    require_finite(weights, folder);
  } catch (const checkpoints_tools::CheckpointError& error) {
    return error.what();
  }
  return "";
}

TEST(RequireFinite, FindsOneValueAnywhere) {
  const ScratchFolder folder;
  const auto path = folder / "model.safetensors";
  const auto good = at::ones({3});
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const auto matrix = at::arange(70, at::kFloat).reshape({7, 10}).to(type);
    checkpoints_tools::write_safetensors(path, {{"good", good}, {"matrix", matrix}});
    EXPECT_EQ(refusal({}, folder.path()), "");
    EXPECT_EQ(refusal({good, at::empty({0}), at::tensor({1, 2}), matrix}, folder.path()), "");
    const float infinity = std::numeric_limits<float>::infinity();
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), infinity, -infinity}) {
      for (int64_t i = 0; i < matrix.numel(); ++i) {
        auto damaged = matrix.clone();
        damaged.view(-1)[i] = bad;
        const auto in_memory = refusal({good, damaged}, folder.path());
        EXPECT_THAT(in_memory, testing::HasSubstr("though its files are")) << bad << " at " << i;
        EXPECT_THAT(in_memory, testing::HasSubstr(folder.path().string()));
      }
    }
    auto damaged = matrix.clone();
    damaged[2][3] = infinity;
    checkpoints_tools::write_safetensors(path, {{"good", good}, {"matrix", damaged}});
    const auto in_file = refusal({good, damaged}, folder.path());
    EXPECT_THAT(in_file, testing::HasSubstr(path.string()));
    EXPECT_THAT(in_file, testing::HasSubstr("'matrix': 1 of 70 values are NaN or infinite, the first is element 23"));
    EXPECT_THAT(in_file, testing::Not(testing::HasSubstr("'good'")));
  }
}

}  // namespace
}  // namespace layalign::trainer
