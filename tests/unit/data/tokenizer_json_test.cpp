// tokenizer.json: ids and texts of the Hugging Face library, and what is refused.
#include "data/tokenizer_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "data/error.h"
#include "data/tokenizer.h"
#include "tests/unit/data/damage.h"
#include "tests/unit/data/temporary_folder.h"

namespace layalign::data {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Ids = std::vector<int64_t>;

const fs::path kForms = fs::path(LAYALIGN_TEST_DATA) / "tokenizers";

json read_json(const fs::path& file) { return json::parse(std::ifstream(file)); }

TEST(TokenizerJson, GivesTheIdsAndTextsOfTheHuggingFaceLibrary) {
  const json file = read_json(kForms / "json_forms.json");
  ASSERT_GE(file["forms"].size(), 8u);
  for (const auto& [name, form] : file["forms"].items()) {
    const auto tokenizer = load_tokenizer(kForms / name);
    EXPECT_EQ(tokenizer->vocabulary_size(), form["size"]) << name;
    EXPECT_EQ(encode_source(*tokenizer, "two apples", "unknown", 1 << 20), form["framed"].get<Ids>()) << name;
    EXPECT_EQ(tokenizer->decode(form["cut"].get<Ids>()), form["decoded_cut"].get<std::string>()) << name;
    for (size_t i = 0; i < file["texts"].size(); ++i) {
      const auto text = file["texts"][i].get<std::string>();
      const auto ids = form["ids"][i].get<Ids>();
      EXPECT_EQ(tokenizer->encode(text), ids) << name << ": " << file["texts"][i];
      EXPECT_EQ(tokenizer->decode(ids), form["decoded"][i].get<std::string>()) << name << ": " << file["texts"][i];
    }
  }
}

class TokenizerJsonFile : public testing::Test {
 protected:
  TokenizerJsonFile() { folder.write("tokenizer_config.json", R"({"eos_token": "c"})"); }

  /// A file with one component more than the smallest.
  std::string with(const std::string& key, const std::string& component) const {
    json file = json::parse(R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
      "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
      "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "c": 3}, "merges": ["a b"]}})");
    file[key] = json::parse(component);
    return file.dump();
  }
  std::string with_model(const std::string& key, const std::string& value) const {
    json model = json::parse(R"({"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "c": 3}, "merges": ["a b"]})");
    model[key] = json::parse(value);
    return with("model", model.dump());
  }

  std::unique_ptr<Tokenizer> load(const std::string& file) const {
    folder.write("tokenizer.json", file);
    return load_tokenizer(folder.path());
  }
  std::string refusal(const std::string& file) const {
    try {
      load(file);
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), HasSubstr(folder.path().string()));
      return error.what();
    }
    return "no error";
  }

  TemporaryFolder folder;
};

TEST_F(TokenizerJsonFile, MayBeTheSmallest) {
  const auto tokenizer = load(with("padding", "null"));
  EXPECT_THAT(tokenizer->encode("aba"), ElementsAre(2, 0));
  EXPECT_EQ(tokenizer->decode(Ids{2, 0}), "ab a");  // without a decoder
  EXPECT_EQ(tokenizer->eos_id(), 3);
  EXPECT_THAT(tokenizer->frame("unknown").before, IsEmpty());
}

TEST_F(TokenizerJsonFile, HoldsMergesInBothForms) {
  EXPECT_THAT(load(with_model("merges", R"([["a", "b"]])"))->encode("aba"), ElementsAre(2, 0));
  EXPECT_THAT(load(with_model("merges", "[]"))->encode("aba"), ElementsAre(0, 1, 0));
}

TEST_F(TokenizerJsonFile, NormalisesByItsPrecompiledRules) {
  // One rule, 'a' becomes 'b', in SentencePiece's binary form (charsmap.h): mostly zeros.
  const auto normalizer = [](const std::string& rules) {
    return R"({"type": "Precompiled", "precompiled_charsmap": ")" + rules + R"("})";
  };
  const std::string rules =
      "i" + std::string(1, 'A') +
      "EAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
      "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
      "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
      "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
      "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABhBQAAYgA=";
  EXPECT_THAT(load(with("normalizer", normalizer(rules)))->encode("ab"), ElementsAre(1, 1));
  EXPECT_THAT(refusal(with("normalizer", normalizer("BAQAAA=="))),
              HasSubstr("normalizer.precompiled_charsmap: the normalisation rules"));
  EXPECT_THAT(refusal(with("normalizer", normalizer("?"))), HasSubstr("is not base64"));
}

TEST_F(TokenizerJsonFile, IsFramedByItsPostProcessorUnlessTheConfigSaysOtherwise) {
  const std::string file = with("post_processor", R"({"type": "TemplateProcessing", "pair": [],
    "single": [{"SpecialToken": {"id": "a", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "special_tokens": {"a": {"id": "a", "ids": [0], "tokens": ["a"]}}})");
  EXPECT_THAT(load(file)->frame("unknown").before, ElementsAre(0));
  folder.write("tokenizer_config.json", R"({"eos_token": "c", "bos_token": "ab", "add_bos_token": false,
    "add_eos_token": true})");
  EXPECT_THAT(load(file)->frame("unknown").before, IsEmpty());
  EXPECT_THAT(load(file)->frame("unknown").after, ElementsAre(3));
}

TEST_F(TokenizerJsonFile, IsRefusedByTheNameOfWhatIsUnknown) {
  EXPECT_THAT(refusal(with("normalizer", R"({"type": "Nmt"})")), HasSubstr("normalizer.type: 'Nmt' is not readable"));
  EXPECT_THAT(refusal(with("normalizer", R"({"type": "NFC", "extra": 1})")), HasSubstr("normalizer.extra"));
  EXPECT_THAT(refusal(with("normalizer", R"({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Nm"}]})")),
              HasSubstr("normalizer.normalizers[1].type: 'Nm'"));
  EXPECT_THAT(refusal(with("pre_tokenizer", R"({"type": "UnicodeScripts"})")), HasSubstr("'UnicodeScripts'"));
  EXPECT_THAT(refusal(with("decoder", R"({"type": "CTC"})")), HasSubstr("decoder.type: 'CTC'"));
  EXPECT_THAT(refusal(with("post_processor", R"({"type": "Other"})")), HasSubstr("post_processor.type: 'Other'"));
  EXPECT_THAT(refusal(with_model("type", R"("WordLevel")")), HasSubstr("model.type: 'WordLevel'"));
  EXPECT_THAT(refusal(with_model("extra", "1")), HasSubstr("model.extra"));
  EXPECT_THAT(refusal(with("extra", "1")), HasSubstr("$.extra"));
}

TEST_F(TokenizerJsonFile, IsRefusedWithThePlaceOfAWrongValue) {
  EXPECT_THAT(refusal("{"), HasSubstr("line 1"));
  EXPECT_THAT(refusal("[]"), HasSubstr("expected an object"));
  EXPECT_THAT(refusal(R"({"a": )" + std::string(5000, '[') + std::string(5000, ']') + "}"), HasSubstr("levels"));
  EXPECT_THAT(refusal(with_model("vocab", R"({"a": -1})")), HasSubstr("vocab.a"));
  EXPECT_THAT(refusal(with_model("vocab", "{}")), HasSubstr("model.vocab: is empty"));
  EXPECT_THAT(refusal(with_model("merges", R"(["a b", "b d"])")), HasSubstr("merges[1]: 'd' is not in vocab"));
  EXPECT_THAT(refusal(with_model("merges", R"(["a b c"])")), HasSubstr("merges[0]: expected two texts"));
  EXPECT_THAT(refusal(with_model("dropout", "0.1")), HasSubstr("model.dropout"));
  EXPECT_THAT(refusal(with("added_tokens", R"([{"id": 9, "content": "new"}])")), HasSubstr("declared with id 9"));
  EXPECT_THAT(refusal(with("pre_tokenizer", R"({"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated"})")),
              HasSubstr("pattern.Regex: the regular expression '('"));
  EXPECT_THAT(refusal(with("pre_tokenizer", R"({"type": "Split", "pattern": {"String": "a"}, "behavior": "Other"})")),
              HasSubstr("behavior: 'Other'"));
  EXPECT_THAT(refusal(with("model", R"({"type": "Unigram", "unk_id": 2, "vocab": [["a", -1], ["b", -2]]})")),
              HasSubstr("model.unk_id: is outside vocab"));
  EXPECT_THAT(refusal(with("model", R"({"type": "Unigram", "unk_id": 0, "vocab": [["a", "x"]]})")),
              HasSubstr("model.vocab[0]"));
  folder.write("tokenizer_config.json", "{}");
  EXPECT_THAT(refusal(with("padding", "null")), HasSubstr("no eos_token"));
}

TEST_F(TokenizerJsonFile, RefusesAnExpressionThatTakesForEver) {
  const auto tokenizer = load(with("pre_tokenizer", R"json({"type": "Split", "pattern": {"Regex": "(?:a|aa)+(?!a|b)"},
    "behavior": "Isolated", "invert": false})json"));
  EXPECT_THROW(tokenizer->encode(std::string(60, 'a') + "b"), DataError);
}

// Nothing that happens to a file may end the process: a message or a tokenizer comes out.
TEST_F(TokenizerJsonFile, DamagedAnywhereNeverCrashes) {
  std::mt19937 random(7);
  for (const char* name : {"llama3", "unigram", "bert", "mixed"}) {
    const json whole = read_json(kForms / name / "tokenizer.json");
    int refused = 0;
    for (int round = 0; round < 25; ++round) {
      try {
        const auto tokenizer = load(damaged_json(whole, random));
        tokenizer->decode(tokenizer->encode("Janet’s ducks lay 16 eggs. ﬁ ｶﾞ e\u0301 ①㎏ \U0001F600"));
      } catch (const DataError&) {
        ++refused;
      }
    }
    EXPECT_GT(refused, 0) << name;
  }
}

}  // namespace
}  // namespace layalign::data
