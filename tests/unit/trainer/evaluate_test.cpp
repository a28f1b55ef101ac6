#include "trainer/evaluate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "configs/error.h"
#include "data/error.h"
#include "trainer/experiment.h"

namespace layalign::trainer {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class FakeDataset : public data::Dataset {
 public:
  int64_t size() const override { return static_cast<int64_t>(languages_.size()); }
  data::Sample get(int64_t) const override { return {}; }
  const std::string& language(int64_t index) const override { return languages_[index]; }
  std::string group(int64_t index) const override { return std::to_string(index); }
  int64_t longest_source() const override { return 1; }
  std::string fingerprint() const override { return "fake"; }

 private:
  std::vector<std::string> languages_{"Thai", "Bengali", "Thai", "German", "Bengali", "Thai", "Thai"};
};

TEST(SelectHeldOut, TakesTheFirstOfEachLanguage) {
  const FakeDataset dataset;
  const std::vector<int64_t> held_out{6, 1, 2, 4, 5};
  EXPECT_EQ(select_held_out(dataset, held_out, {}, {}), held_out);
  EXPECT_THAT(select_held_out(dataset, held_out, {}, 2), ElementsAre(6, 1, 2, 4));
  EXPECT_THAT(select_held_out(dataset, held_out, {"Thai"}, {}), ElementsAre(6, 2, 5));
  EXPECT_THAT(select_held_out(dataset, held_out, {"Bengali", "Thai"}, 1), ElementsAre(6, 1));
  try {
    select_held_out(dataset, held_out, {"Thai", "German"}, {});
    FAIL() << "German has no held-out sample";
  } catch (const data::DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("none in German; there are Bengali, Thai"));
  }
}

TEST(ResolveLayers, GivesTheIndices) {
  using Kind = configs::LayerList::Kind;
  const auto layers = [](Kind kind, int64_t count = 0) { return resolve_layers({kind, {}, count}, 6, 7, "key"); };
  EXPECT_THAT(layers(Kind::kDefault), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(layers(Kind::kAll), ElementsAre(0, 1, 2, 3, 4, 5, 6));
  EXPECT_THAT(layers(Kind::kFirst, 2), ElementsAre(0, 1));
  EXPECT_THAT(layers(Kind::kMiddle, 2), ElementsAre(2, 3));
  EXPECT_THAT(layers(Kind::kMiddle, 3), ElementsAre(1, 2, 3));
  EXPECT_THAT(layers(Kind::kLast, 2), ElementsAre(4, 5));
  EXPECT_THAT(layers(Kind::kMiddle, 6), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(resolve_layers({Kind::kList, {4, 0}, 0}, 6, 7, "key"), ElementsAre(4, 0));
  try {
    layers(Kind::kLast, 7);
    FAIL() << "there are six";
  } catch (const configs::ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("key: 7 layers are asked for, but there are 6"));
  }
}

TEST(ResolveLayers, OfThePapersEncoderAreThoseOfItsTable) {
  // mT5-xl has 24 layers: hidden_states[0..23], of which the middle 8 are 8..15.
  using Kind = configs::LayerList::Kind;
  EXPECT_THAT(resolve_layers({Kind::kFirst, {}, 8}, 24, 25, "key"), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  EXPECT_THAT(resolve_layers({Kind::kMiddle, {}, 8}, 24, 25, "key"), ElementsAre(8, 9, 10, 11, 12, 13, 14, 15));
  EXPECT_THAT(resolve_layers({Kind::kLast, {}, 8}, 24, 25, "key"), ElementsAre(16, 17, 18, 19, 20, 21, 22, 23));
}

}  // namespace
}  // namespace layalign::trainer
