#include "checkpoints_tools/tensor_map.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "checkpoints_tools/error.h"
#include "checkpoints_tools/safetensors.h"
#include "tests/unit/checkpoints_tools/temporary_folder.h"

namespace layalign::checkpoints_tools {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(TensorMap, AFileComesBackWhole) {
  const TemporaryFolder folder;
  const TensorMap tensors{{"a", at::arange(6, at::kFloat).view({2, 3})}, {"b", at::ones({}, at::kBFloat16)}};
  write_safetensors(folder / "file", as_list(tensors));
  for (const TensorDifference& tensor : compare(read_tensors(folder / "file"), tensors)) EXPECT_TRUE(tensor.bit_equal);
}

TEST(Compare, MeasuresTheLargestDifferences) {
  const TensorMap a{{"x", at::tensor({1.0F, -2.0F, 0.0F, 100.0F})}};
  const TensorMap b{{"x", at::tensor({1.0F, -2.5F, 0.25F, 101.0F})}};
  const TensorDifference x = compare(a, b).at(0);
  EXPECT_FALSE(x.bit_equal);
  EXPECT_EQ(x.values, 4);
  EXPECT_EQ(x.differing, 3);
  EXPECT_EQ(x.max_absolute, 1.0);
  EXPECT_EQ(x.max_relative, 1.0);  // 0.25 against 0
  EXPECT_TRUE(compare(a, a).at(0).bit_equal);
}

TEST(Compare, EqualNumbersOfOtherBitsAreNotBitEqual) {
  const TensorDifference zeros = compare({{"x", at::tensor({0.0F})}}, {{"x", at::tensor({-0.0F})}}).at(0);
  EXPECT_FALSE(zeros.bit_equal);
  EXPECT_EQ(zeros.differing, 0);
  const TensorDifference types = compare({{"x", at::ones({2})}}, {{"x", at::ones({2}, at::kHalf)}}).at(0);
  EXPECT_FALSE(types.bit_equal);
  EXPECT_EQ(types.differing, 0);
  EXPECT_EQ(types.form_b, "F16 [2]");
}

TEST(Compare, NotANumberIsEqualToItselfOnly) {
  const at::Tensor nan = at::full({1}, std::numeric_limits<float>::quiet_NaN());
  EXPECT_TRUE(compare({{"x", nan}}, {{"x", nan}}).at(0).bit_equal);
  const TensorDifference x = compare({{"x", nan}}, {{"x", at::ones({1})}}).at(0);
  EXPECT_EQ(x.differing, 1);
  EXPECT_TRUE(std::isnan(x.max_absolute));
}

TEST(Compare, NamesAndShapes) {
  const auto found =
      compare({{"a", at::ones({2})}, {"c", at::ones({2, 3})}}, {{"b", at::ones({2})}, {"c", at::ones({3, 2})}});
  ASSERT_EQ(found.size(), 3U);
  EXPECT_EQ(found[0].form_b, "");
  EXPECT_EQ(found[1].form_a, "");
  EXPECT_EQ(found[2].form_a, "F32 [2, 3]");
  EXPECT_EQ(found[2].form_b, "F32 [3, 2]");
  for (const TensorDifference& tensor : found) EXPECT_FALSE(tensor.same_shape || tensor.bit_equal);
}

TEST(Average, IsSummedInDoublePrecision) {
  // In float32 the one would be lost beside 2^25, and the sum of the three would be 0.
  const std::vector<TensorMap> sets{{{"x", at::tensor({33554432.0F, 1.0F})}},
                                    {{"x", at::tensor({1.0F, 2.0F})}},
                                    {{"x", at::tensor({-33554432.0F, 6.0F})}}};
  const at::Tensor mean = average(sets, {"a", "b", "c"}).at("x");
  EXPECT_TRUE(mean.equal(at::tensor({1.0F / 3.0F, 3.0F}))) << mean;
}

TEST(Average, KeepsTheType) {
  const TensorMap a{{"x", at::tensor({1.0F, 3.0F}).to(at::kBFloat16)}},
      b{{"x", at::tensor({2.0F, 5.0F}).to(at::kBFloat16)}};
  EXPECT_TRUE(average({a, b}, {"a", "b"}).at("x").equal(at::tensor({1.5F, 4.0F}).to(at::kBFloat16)));
}

TEST(Average, EveryTensorThatDoesNotFitIsNamed) {
  const TensorMap a{
      {"gone", at::ones({1})}, {"ids", at::ones({1}, at::kLong)}, {"shape", at::ones({2, 3})}, {"type", at::ones({1})}};
  const TensorMap b{{"ids", at::ones({1}, at::kLong)},
                    {"new", at::ones({1})},
                    {"shape", at::ones({3, 2})},
                    {"type", at::ones({1}, at::kHalf)}};
  EXPECT_THAT(
      message_of<CheckpointError>([&] {
        average({a, b}, {"A.st", "B.st"});
      }),
      AllOf(HasSubstr("'gone': missing in B.st"), HasSubstr("'new': missing in A.st"),
            HasSubstr("'shape': F32 [2, 3] in A.st, F32 [3, 2] in B.st"),
            HasSubstr("'type': F32 [1] in A.st, F16 [1] in B.st"), HasSubstr("'ids': I64 [1] holds no floating")));
}

}  // namespace
}  // namespace layalign::checkpoints_tools
