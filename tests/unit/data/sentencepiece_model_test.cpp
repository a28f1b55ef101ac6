#include "data/sentencepiece_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <random>

#include "data/error.h"
#include "data/tokenizer.h"
#include "tests/unit/data/damage.h"
#include "tests/unit/data/temporary_folder.h"

namespace layalign::data {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const fs::path kModels = fs::path(LAYALIGN_TEST_DATA) / "golden" / "models";

std::string read_bytes(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<char>(value | 0x80));
  bytes.push_back(static_cast<char>(value));
  return bytes;
}

std::string field(int number, const std::string& bytes) {
  return varint(number << 3 | 2) + varint(bytes.size()) + bytes;
}
std::string field(int number, uint64_t value) { return varint(number << 3) + varint(value); }

std::string piece(const std::string& text, float score = -1, int kind = 1) {
  std::string raw(sizeof score, '\0');
  std::memcpy(raw.data(), &score, sizeof score);
  return field(1, field(1, text) + varint(2 << 3 | 5) + raw + field(3, kind));
}

std::string settings(int algorithm = 1) { return field(2, field(3, algorithm)) + field(3, field(2, "rules")); }

class Model : public testing::Test {
 protected:
  /// What is wrong with a file of these bytes.
  std::string refusal(const std::string& bytes) const {
    try {
      read_sentencepiece_model(folder.write("m.model", bytes));
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), HasSubstr((folder.path() / "m.model").string()));
      return error.what();
    }
    return "no error";
  }

  TemporaryFolder folder;
};

TEST_F(Model, IsReadWhole) {
  const SentencePieceModel model = read_sentencepiece_model(
      folder.write("m.model", piece("<unk>", 0, 2) + piece("a", -1.5) + piece("</s>", 0, 3) + settings(2)));
  ASSERT_EQ(model.pieces.size(), 3u);
  EXPECT_EQ(model.pieces[1].text, "a");
  EXPECT_EQ(model.pieces[1].score, -1.5);
  EXPECT_EQ(model.pieces[2].kind, Piece::Kind::kControl);
  EXPECT_EQ(model.unknown_id, 0);
  EXPECT_EQ(model.algorithm, SentencePieceModel::Algorithm::kBpe);
  EXPECT_EQ(model.charsmap, "rules");
  EXPECT_TRUE(model.space_first && model.single_spaces && model.marks_spaces);
  EXPECT_FALSE(model.space_behind || model.byte_fallback);
}

TEST_F(Model, SaysWhatBecomesOfSpaces) {
  const std::string trainer = field(2, field(24, uint64_t{1}) + field(35, uint64_t{1}));
  const std::string normalizer = field(3, field(3, uint64_t{0}) + field(4, uint64_t{0}) + field(5, uint64_t{0}));
  const SentencePieceModel model =
      read_sentencepiece_model(folder.write("m.model", piece("<unk>", 0, 2) + trainer + normalizer));
  EXPECT_FALSE(model.space_first || model.single_spaces || model.marks_spaces);
  EXPECT_TRUE(model.space_behind && model.byte_fallback);
}

TEST_F(Model, IsRefusedWhereItIsDamaged) {
  const std::string unknown = piece("<unk>", 0, 2);
  EXPECT_THAT(refusal(""), HasSubstr("empty"));
  EXPECT_THAT(refusal("{\"model\": 1}"), HasSubstr("byte"));
  EXPECT_THAT(refusal(unknown + "\x0A\x7F"), HasSubstr("past the end"));
  EXPECT_THAT(refusal(unknown + std::string(12, '\xFF')), HasSubstr("ten bytes"));
  EXPECT_THAT(refusal(unknown + std::string(1, '\0')), HasSubstr("field number 0"));
  EXPECT_THAT(refusal(unknown + field(1, 5)), HasSubstr("wire type 0, expected 2"));
  EXPECT_THAT(refusal(unknown + piece("")), HasSubstr("an empty piece"));
  EXPECT_THAT(refusal(unknown + piece("\xC3")), HasSubstr("not UTF-8"));
  EXPECT_THAT(refusal(unknown + piece("a", std::numeric_limits<float>::infinity())), HasSubstr("not finite"));
  EXPECT_THAT(refusal(unknown + piece("a", 0, 9)), HasSubstr("unknown type"));
  EXPECT_THAT(refusal(unknown + piece("a") + piece("a") + settings()), HasSubstr("'a' is there twice"));
  EXPECT_THAT(refusal(piece("a") + settings()), HasSubstr("0 pieces of type UNKNOWN"));
  EXPECT_THAT(refusal(unknown + piece("b", 0, 2) + settings()), HasSubstr("2 pieces of type UNKNOWN"));
  EXPECT_THAT(refusal(unknown + settings(9)), HasSubstr("unknown model type"));
  EXPECT_THAT(refusal(settings()), HasSubstr("no vocabulary"));
  EXPECT_THAT(refusal(unknown), HasSubstr("cut off"));
}

TEST_F(Model, MustBeARegularFile) {
  EXPECT_THROW(read_sentencepiece_model(folder.path()), DataError);
  EXPECT_THROW(read_sentencepiece_model(folder.path() / "none"), DataError);
}

TEST_F(Model, CutOffAnywhereIsRefused) {
  for (const auto& [name, file] : {std::pair("mt5", "spiece.model"), std::pair("llama", "tokenizer.model")}) {
    const std::string whole = read_bytes(kModels / name / file);
    const size_t vocabulary = read_sentencepiece_model(kModels / name / file).pieces.size();
    for (size_t size = 0; size < whole.size(); size += 1 + whole.size() / 100) {
      EXPECT_NE(refusal(whole.substr(0, size)), "no error") << name << " cut to " << size << " bytes";
    }
    EXPECT_EQ(read_sentencepiece_model(folder.write("m.model", whole)).pieces.size(), vocabulary);
  }
}

// Nothing that happens to the bytes of a model may end the process: a message or a tokenizer comes out.
TEST_F(Model, DamagedAnywhereNeverCrashes) {
  std::mt19937 random(5);
  for (const auto& [name, file] : {std::pair("mt5", "spiece.model"), std::pair("llama", "tokenizer.model"),
                                   std::pair("nllb", "sentencepiece.bpe.model")}) {
    const std::string whole = read_bytes(kModels / name / file);
    TemporaryFolder damaged;
    for (const char* settings : {"tokenizer_config.json", "special_tokens_map.json"}) {
      if (fs::exists(kModels / name / settings)) fs::copy_file(kModels / name / settings, damaged.path() / settings);
    }
    int refused = 0;
    for (int round = 0; round < 100; ++round) {
      damaged.write(file, damaged_bytes(whole, random));
      try {
        load_tokenizer(damaged.path())->encode("Janet’s ducks lay 16 eggs. ﬁ ｶﾞ e\u0301 ①㎏ \U0001F600");
      } catch (const DataError&) {
        ++refused;
      }
    }
    EXPECT_GT(refused, 0) << name;
  }
}

}  // namespace
}  // namespace layalign::data
