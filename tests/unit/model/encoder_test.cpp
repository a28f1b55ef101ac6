// What holds for every encoder, on the tiny models of the golden files. Their numbers are compared in tests/parity.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/encoder.h"
#include "model/error.h"
#include "model/positions.h"

namespace layalign::model {
namespace {

constexpr int64_t kVocabulary = 61;  // of the smallest of them

class Encoders : public testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<Encoder> load(at::ScalarType type) const {
    return load_encoder(std::string(LAYALIGN_TEST_DATA "/golden/models/") + GetParam(), at::kCPU, type);
  }
  static std::vector<int64_t> all_layers(const Encoder& encoder) {
    std::vector<int64_t> layers;
    for (int64_t i = 0; i <= encoder.info().depth; ++i) layers.push_back(i);
    return layers;
  }

  const std::vector<int64_t> offsets = {0, 5, 6, 18};
  const at::Tensor ids_S = at::arange(18).mul(7).add(3).remainder(kVocabulary);
};

TEST_P(Encoders, AnyListOfLayersGivesTheSameStates) {
  const auto encoder = load(at::kFloat);
  const auto all = encoder->encode(ids_S, offsets, all_layers(*encoder));
  const int64_t n = encoder->info().depth;
  const auto some = encoder->encode(ids_S, offsets, {n, 0, 1, 0});
  EXPECT_TRUE(at::equal(some.layers_ESD[0], all.last_SD));
  EXPECT_TRUE(at::equal(some.layers_ESD[1], all.layers_ESD[0]));
  EXPECT_TRUE(at::equal(some.layers_ESD[2], all.layers_ESD[1]));
  EXPECT_TRUE(at::equal(some.layers_ESD[3], all.layers_ESD[0]));
  const auto none = encoder->encode(ids_S, offsets, {});
  EXPECT_EQ(none.layers_ESD.sizes(), at::IntArrayRef({0, 18, encoder->info().width}));
  EXPECT_TRUE(at::equal(none.last_SD, all.last_SD));
}

TEST_P(Encoders, ListsAllItsWeights) {
  const auto encoder = load(at::kFloat);
  int64_t elements = 0;
  for (const at::Tensor& tensor : encoder->weights()) elements += tensor.numel();
  // Rows of the embeddings of token types and positions that no source has are not kept: BERT's second type, RoBERTa's first positions.
  EXPECT_GE(elements, encoder->info().parameters - 3 * encoder->info().width);
}

TEST_P(Encoders, ASampleDoesNotDependOnItsNeighbours) {
  const auto encoder = load(at::kFloat);
  const auto layers = all_layers(*encoder);
  const auto batch = encoder->encode(ids_S, offsets, layers);
  for (size_t i = 1; i < offsets.size(); ++i) {
    const int64_t first = offsets[i - 1], count = offsets[i] - first;
    const auto alone = encoder->encode(ids_S.narrow(0, first, count), {0, count}, layers);
    const auto in_batch = batch.layers_ESD.narrow(1, first, count);
    // Products of other sizes are summed in another order.
    EXPECT_LT((alone.layers_ESD - in_batch).abs().max().item<double>(), 1e-5 * in_batch.abs().max().item<double>());
  }
}

TEST_P(Encoders, Bfloat16StaysNearFloat32) {
  const auto wide = load(at::kFloat), narrow = load(at::kBFloat16);
  const auto layers = all_layers(*wide);
  const auto expected = wide->encode(ids_S, offsets, layers), got = narrow->encode(ids_S, offsets, layers);
  EXPECT_EQ(narrow->type(), at::kBFloat16);
  EXPECT_EQ(got.layers_ESD.scalar_type(), at::kBFloat16);
  EXPECT_EQ(narrow->fingerprint(), wide->fingerprint());
  // A rounding is 2^-9 of a number; a few of them a layer add up in three or four layers of large random weights.
  const auto error = (got.layers_ESD.to(at::kFloat) - expected.layers_ESD).norm() / expected.layers_ESD.norm();
  EXPECT_LT(error.item<double>(), 0.05);
}

TEST_P(Encoders, SourcesBeyondThePositionsAreRefused) {
  const auto encoder = load(at::kFloat);
  const int64_t tokens = encoder->info().max_tokens.value_or(40);
  EXPECT_EQ(encoder->encode(at::zeros({tokens}, at::kLong), {0, tokens}, {}).last_SD.size(0), tokens);
  if (!encoder->info().max_tokens) return;
  try {
    encoder->encode(at::zeros({tokens + 1}, at::kLong), {0, tokens + 1}, {});
    FAIL() << "no error";
  } catch (const ModelError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("at most " + std::to_string(tokens) + " tokens"));
  }
}

INSTANTIATE_TEST_SUITE_P(OfTheGoldenFiles, Encoders,
                         testing::Values("t5", "mt5", "nllb", "m2m", "xlmr", "roberta", "bert", "xglm", "gpt2", "llama",
                                         "qwen3"));

TEST(Positions, StartAnewInEverySample) {
  EXPECT_TRUE(at::equal(token_positions({0, 3, 3, 5}, at::kCPU), at::tensor({0, 1, 2, 0, 1}, at::kLong)));
}

TEST(Positions, OfFairseqPassOverPadding) {
  const auto ids = at::tensor({5, 1, 6, 1, 1, 7, 8}, at::kLong);
  EXPECT_TRUE(at::equal(fairseq_positions(ids, {0, 4, 7}, 1), at::tensor({2, 1, 3, 1, 1, 2, 3}, at::kLong)));
}

}  // namespace
}  // namespace layalign::model
