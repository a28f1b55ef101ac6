// M2M100: a SentencePiece model with vocab.json. Ids and texts of transformers, and what is refused.
#include "data/m2m100_form.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "data/error.h"
#include "data/sentencepiece_cutter.h"
#include "data/tokenizer.h"
#include "tests/unit/data/damage.h"
#include "tests/unit/data/refusal.h"
#include "tests/unit/data/temporary_folder.h"

namespace layalign::data {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using Ids = std::vector<int64_t>;

const fs::path kData = LAYALIGN_TEST_DATA;
constexpr const char* kModel = "sentencepiece.bpe.model";

json golden() { return json::parse(std::ifstream(kData / "tokenizers" / "m2m100.json")); }

// vocab.json of texts in the order of their ids.
json vocabulary_of(const json& texts) {
  json vocabulary = json::object();
  for (const json& text : texts) vocabulary[text.get<std::string>()] = vocabulary.size();
  return vocabulary;
}

void write_layout(const json& layout, const TemporaryFolder& folder) {
  fs::copy_file(kData / layout["model"].get<std::string>(), folder.path() / kModel);
  folder.write("vocab.json", vocabulary_of(layout["vocabulary"]).dump());
  for (const auto& [name, content] : layout["files"].items()) folder.write(name, content.dump());
}

// What encode_source throws.
std::string failure(const Tokenizer& tokenizer, const std::string& language) {
  try {
    encode_source(tokenizer, "x", language, 16);
  } catch (const DataError& error) {
    return error.what();
  }
  return "no error";
}

TEST(M2m100, GivesTheIdsAndTextsOfTransformersForEveryLayout) {
  const json file = golden();
  ASSERT_GE(file["layouts"].size(), 5u);
  for (const auto& [name, layout] : file["layouts"].items()) {
    TemporaryFolder folder;
    write_layout(layout, folder);
    const auto tokenizer = load_tokenizer(folder.path());
    EXPECT_EQ(tokenizer->vocabulary_size(), layout["size"]) << name;
    EXPECT_EQ(tokenizer->eos_id(), layout["eos"]) << name;
    EXPECT_EQ(tokenizer->decode(layout["cut"].get<Ids>()), layout["decoded_cut"].get<std::string>()) << name;
    for (const auto& [language, ids] : layout["framed"].items()) {
      EXPECT_EQ(encode_source(*tokenizer, "two apples", language, 1 << 20), ids.get<Ids>()) << name << language;
    }
    for (size_t i = 0; i < file["texts"].size(); ++i) {
      const auto text = file["texts"][i].get<std::string>();
      const auto ids = layout["ids"][i].get<Ids>();
      EXPECT_EQ(tokenizer->encode(text), ids) << name << ": " << file["texts"][i];
      EXPECT_EQ(tokenizer->decode(ids), layout["decoded"][i].get<std::string>()) << name << ": " << file["texts"][i];
    }
  }
}

class M2m100Folder : public testing::Test {
 protected:
  M2m100Folder() : vocabulary(vocabulary_of(golden()["layouts"]["wmt21"]["vocabulary"])) {
    fs::copy_file(kData / "tokenizers" / "m2m100" / "bpe.model", folder.path() / kModel);
    write_vocabulary(vocabulary);
    write_config(json::object());
  }

  void write_vocabulary(const json& changed) const { folder.write("vocab.json", changed.dump()); }
  void write_config(json config) const {
    config["tokenizer_class"] = "M2M100Tokenizer";
    folder.write("tokenizer_config.json", config.dump());
  }
  std::string refusal_of_vocabulary(const std::string& bytes) const {
    folder.write("vocab.json", bytes);
    const std::string message = refusal(folder.path());
    EXPECT_THAT(message, HasSubstr((folder.path() / "vocab.json").string()));
    EXPECT_THAT(message, HasSubstr("Copy the file again"));
    return message;
  }
  std::string refusal_of_config(const json& config) const {
    write_config(config);
    return refusal(folder.path());
  }

  TemporaryFolder folder;
  json vocabulary;
};

TEST_F(M2m100Folder, HasItsLanguagesBehindItsVocabulary) {
  const auto size = static_cast<int64_t>(vocabulary.size());
  const auto tokenizer = load_tokenizer(folder.path());
  EXPECT_EQ(tokenizer->vocabulary_size(), size + 100);
  const auto first = [&](std::string_view language) { return encode_source(*tokenizer, "x", language, 99).front(); };
  EXPECT_EQ(first("English"), size + 18);
  EXPECT_EQ(first("unknown"), size + 18);
  EXPECT_EQ(first("Urdu"), size + 91);
  EXPECT_EQ(first("Chinese"), size + 98);
  EXPECT_THAT(encode_source(*tokenizer, "one two three", "Thai", 2), ElementsAre(size + 86, 2));
}

TEST_F(M2m100Folder, NeedsALanguageThatItHasATokenFor) {
  const auto tokenizer = load_tokenizer(folder.path());
  EXPECT_THAT(failure(*tokenizer, "Klingon"), AllOf(HasSubstr("'Klingon' is none that it has a code for"),
                                                    HasSubstr(folder.path().string()), HasSubstr("__en__")));
  EXPECT_THAT(failure(*tokenizer, "Telugu"),
              AllOf(HasSubstr("has no token __te__ for the language 'Telugu'"), HasSubstr("language_codes (m2m100)")));
  write_config({{"language_codes", "wmt21"}});
  EXPECT_THAT(failure(*load_tokenizer(folder.path()), "Thai"), HasSubstr("language_codes (wmt21)"));
  EXPECT_THAT(refusal_of_config({{"src_lang", "te"}}), HasSubstr("no token for its src_lang '__te__'"));
  EXPECT_THAT(refusal_of_config({{"language_codes", "m2m101"}}), HasSubstr("expected m2m100 or wmt21"));
}

TEST_F(M2m100Folder, IsRefusedWhereItsVocabularyIsBroken) {
  EXPECT_THAT(refusal_of_vocabulary("[1]"), HasSubstr("expected an object"));
  EXPECT_THAT(refusal_of_vocabulary("{}"), HasSubstr("no pieces"));
  EXPECT_THAT(refusal_of_vocabulary(""), HasSubstr("line 1"));
  EXPECT_THAT(refusal_of_vocabulary(vocabulary.dump().substr(0, 900)), HasSubstr("line 1"));
  EXPECT_THAT(refusal_of_vocabulary(R"({"a": 0, "a": 1})"), HasSubstr("a"));
  EXPECT_THAT(refusal_of_vocabulary(R"({"a": 0, "b": 0})"), HasSubstr("'a' and 'b' have the same id 0"));
  EXPECT_THAT(refusal_of_vocabulary(R"({"a": 0, "b": 2})"), HasSubstr("the id of 'b' is 2; expected each number from"));
  EXPECT_THAT(refusal_of_vocabulary(R"({"a": 0, "b": -1})"), HasSubstr("is -1"));
  EXPECT_THAT(refusal_of_vocabulary(R"({"a": 0, "b": "1"})"), HasSubstr(R"(is "1")"));
  EXPECT_THAT(refusal_of_vocabulary(R"({"a": 0, "b": 1.0})"), HasSubstr("is 1.0"));
  EXPECT_THAT(refusal_of_vocabulary(R"({"<s>": 0, "</s>": 1})"), HasSubstr("lacks '<unk>', the unk_token"));
  EXPECT_THAT(refusal_of_vocabulary(R"({"<s>": 0, "<unk>": 1})"), HasSubstr("lacks '</s>', the eos_token"));
  EXPECT_THAT(refusal_of_vocabulary(R"({"</s>": 0, "<unk>": 1, "__sw__": 2})"), HasSubstr("holds __sw__"));
  fs::remove(folder.path() / "vocab.json");
  EXPECT_THAT(refusal(folder.path()), HasSubstr("vocab.json: no such file"));
}

TEST_F(M2m100Folder, IsReadOrRefusedHoweverItsVocabularyIsDamaged) {
  std::mt19937 random(1);
  const std::string whole = vocabulary.dump();
  for (int round = 0; round < 200; ++round) {
    folder.write("vocab.json", damaged_bytes(whole, random));
    EXPECT_NE(refusal(folder.path()), "");
  }
}

TEST_F(M2m100Folder, IsRefusedWhereIdsWouldDifferFromTransformers) {
  EXPECT_THAT(refusal_of_config({{"eos_token", nullptr}}), HasSubstr("the eos_token"));
  EXPECT_THAT(refusal_of_config({{"cls_token", "<cls>"}}), AllOf(HasSubstr("'<cls>'"), HasSubstr("__af__'s")));
  EXPECT_THAT(refusal_of_config({{"extra_special_tokens", {"__af__", "__en__"}}}),
              AllOf(HasSubstr("'__en__'"), HasSubstr("__am__'s"), HasSubstr("in the order of their ids")));
  EXPECT_THAT(refusal_of_config({{"sp_model_kwargs", {{"enable_sampling", true}}}}), HasSubstr("sp_model_kwargs"));
  const json whole_word = {{"content", "<s>"}, {"single_word", true}};
  EXPECT_THAT(refusal_of_config({{"added_tokens_decoder", {{"0", whole_word}}}}), HasSubstr("single_word"));
  EXPECT_THAT(refusal_of_config({{"added_tokens_decoder", {{"9", {{"content", "<s>"}}}}}}), HasSubstr("with id 9"));
  write_config(json::object());
  EXPECT_EQ(refusal(folder.path()), "no error");
  fs::remove(folder.path() / kModel);
  fs::copy_file(kData / "golden" / "models" / "llama" / "tokenizer.model", folder.path() / kModel);
  EXPECT_THAT(refusal(folder.path()), HasSubstr("byte_fallback"));
}

TEST_F(M2m100Folder, IsChosenByItsModelTypeOnlyWithItsVocabulary) {
  fs::remove(folder.path() / "tokenizer_config.json");
  EXPECT_THAT(refusal(folder.path()), HasSubstr("tokenizer_class is not said"));
  folder.write("config.json", R"({"model_type": "m2m_100"})");
  EXPECT_EQ(refusal(folder.path()), "no error");
  fs::remove(folder.path() / "vocab.json");
  EXPECT_THAT(refusal(folder.path()), HasSubstr("tokenizer_class is not said"));
}

TEST_F(M2m100Folder, NeedsItsLanguagesInATokenizerJsonWithoutTheModel) {
  fs::remove(folder.path() / kModel);
  fs::copy_file(kData / "tokenizers" / "unigram" / "tokenizer.json", folder.path() / "tokenizer.json");
  EXPECT_THAT(refusal(folder.path()), HasSubstr("no token for its src_lang '__en__'"));
  json changed = json::parse(std::ifstream(folder.path() / "tokenizer.json"));
  json code = changed["added_tokens"].back();
  code["content"] = "__en__";
  code["id"] = code["id"].get<int>() + 1;
  changed["added_tokens"].push_back(code);
  folder.write("tokenizer.json", changed.dump());
  EXPECT_THAT(encode_source(*load_tokenizer(folder.path()), "", "English", 9), ElementsAre(code["id"].get<int>(), 2));
}

TEST_F(M2m100Folder, HasAnotherFingerprintWithAnotherVocabulary) {
  const std::string before = tokenizer_fingerprint(folder.path());
  std::swap(vocabulary.begin().value(), std::next(vocabulary.begin()).value());
  write_vocabulary(vocabulary);
  EXPECT_NE(tokenizer_fingerprint(folder.path()), before);
  fs::remove(folder.path() / kModel);
  const std::string without_model = tokenizer_fingerprint(folder.path());
  write_vocabulary(json::object());  // as beside tokenizer.json, where it is not read
  EXPECT_EQ(tokenizer_fingerprint(folder.path()), without_model);
}

// Ids of a text by pieces with scores, all of them in the vocabulary by their place; 99: unknown.
Ids cut(SentencePieceModel::Algorithm algorithm, const std::vector<std::pair<std::string, double>>& pieces,
        std::string_view text) {
  SentencePieceModel model;
  model.algorithm = algorithm;
  std::vector<Token> tokens;
  for (const auto& [piece, score] : pieces) {
    tokens.push_back({piece, static_cast<int64_t>(tokens.size())});
    model.pieces.push_back({.text = piece, .score = score});
  }
  tokens.push_back({"xy", 77});
  Ids ids;
  SentencePieceCutter(model, tokens, 99).encode(text, ids);
  return ids;
}

TEST(SentencePieceCutter, TakesTheLeftmostOfMergesWithEqualScores) {
  constexpr auto kBpe = SentencePieceModel::Algorithm::kBpe;
  // aa a aa: the piece aaa from the left, although its split with the shorter left part is on the right.
  EXPECT_THAT(cut(kBpe, {{"a", -9}, {"aa", -1}, {"aaa", -2}}, "aaaaa"), ElementsAre(1, 2));
  EXPECT_THAT(cut(kBpe, {{"ab", -1}, {"b", -2}}, "abxb"), ElementsAre(0, 99, 1));  // a itself is no piece
}

TEST(SentencePieceCutter, AddsScoresAsFloats) {
  constexpr auto kUnigram = SentencePieceModel::Algorithm::kUnigram;
  // ab c is better than a bc by less than a float's last place: the first of equal ones stays.
  EXPECT_THAT(cut(kUnigram, {{"a", -0.1}, {"bc", -30.0}, {"ab", -0.1 + 1e-8}, {"c", -30.0}, {"b", -90}}, "abc"),
              ElementsAre(0, 1));
}

TEST(SentencePieceCutter, LooksForUnknownNeighboursTogether) {
  for (const auto algorithm : {SentencePieceModel::Algorithm::kUnigram, SentencePieceModel::Algorithm::kBpe}) {
    EXPECT_THAT(cut(algorithm, {{"a", -1}}, "axya"), ElementsAre(0, 77, 0));
    EXPECT_THAT(cut(algorithm, {{"a", -1}}, "xyx"), ElementsAre(99));
    EXPECT_THAT(cut(algorithm, {{"a", -1}}, ""), testing::IsEmpty());
  }
  // No two characters of it are a piece, so that no merge leads to it.
  EXPECT_THAT(cut(SentencePieceModel::Algorithm::kBpe, {{"a", -1}, {"uvw", -1}}, "auvw"), ElementsAre(0, 1));
}

}  // namespace
}  // namespace layalign::data
