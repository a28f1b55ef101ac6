#include "data/batch.h"

#include <gtest/gtest.h>

namespace layalign::data {
namespace {

std::vector<int64_t> values(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<int64_t>(), tensor.const_data_ptr<int64_t>() + tensor.numel()};
}

using Ids = std::vector<int64_t>;

TEST(Batch, PacksTheLayoutOfThePaper) {
  const std::vector<Sample> samples = {{{10, 11}, {}, {20, 21, 2}, "x", "a"}, {{12}, {30, 31}, {22, 2}, "x", "b"}};
  const auto batch = pack(samples, 1);
  EXPECT_EQ(batch.source_offsets, (Ids{0, 2, 3}));
  EXPECT_EQ(batch.llm_offsets, (Ids{0, 6, 12}));
  EXPECT_EQ(batch.label_offsets, (Ids{0, 3, 5}));
  EXPECT_EQ(values(batch.source_ids_S), (Ids{10, 11, 12}));
  // bos, two mapped, boundary, 20, 21 | bos, one mapped, boundary, 30, 31, 22. The last target is a label alone.
  EXPECT_EQ(values(batch.token_ids_K), (Ids{1, 20, 21, 1, 30, 31, 22}));
  EXPECT_EQ(values(batch.positions_T), (Ids{0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5}));
  // Rows 0-2 are mapped, 3-9 looked up, 10-11 boundaries.
  EXPECT_EQ(values(batch.input_rows_T), (Ids{3, 0, 1, 10, 4, 5, 6, 2, 11, 7, 8, 9}));
  EXPECT_EQ(values(batch.label_ids_N), (Ids{20, 21, 2, 22, 2}));
  EXPECT_EQ(values(batch.label_rows_N), (Ids{3, 4, 5, 10, 11}));
  for (size_t i = 0; i < samples.size(); ++i) {
    EXPECT_EQ(batch.llm_offsets[i + 1] - batch.llm_offsets[i], llm_tokens(samples[i]));
  }
}

TEST(Batch, RefusesASampleWithoutTokens) {
  EXPECT_THROW(pack(std::vector<Sample>{{{}, {}, {2}, "x", "a"}}, 1), c10::Error);
  EXPECT_THROW(pack(std::vector<Sample>{{{5}, {}, {}, "x", "a"}}, 1), c10::Error);
}

}  // namespace
}  // namespace layalign::data
