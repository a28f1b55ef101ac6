#include "data/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "data/error.h"
#include "tests/unit/data/refusal.h"
#include "tests/unit/data/temporary_folder.h"

namespace layalign::data {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using Ids = std::vector<int64_t>;

const fs::path kTestData = LAYALIGN_TEST_DATA;
const fs::path kGoldenModels = kTestData / "golden" / "models";

json json_of(const fs::path& file) { return json::parse(std::ifstream(file)); }

TEST(Tokenizer, GivesTheGoldenIdsOfEveryEncoder) {
  for (const char* model : {"mt5", "xlmr", "nllb"}) {
    const auto tokenizer = load_tokenizer(kGoldenModels / model);
    const json entries = json_of(kTestData / "golden" / "tokenizers.json")[model];
    ASSERT_GT(entries.size(), 30u);
    for (const json& entry : entries) {
      const auto text = entry["text"].get<std::string>();
      const auto language = entry["language"].get<std::string>();
      EXPECT_EQ(encode_source(*tokenizer, text, language, 1 << 20), entry["ids"].get<Ids>()) << model << ": " << text;
      EXPECT_EQ(encode_source(*tokenizer, text, language, 16), entry["ids_max16"].get<Ids>()) << model << ": " << text;
    }
  }
}

TEST(Tokenizer, GivesTheGoldenIdsOfTheLlamaForm) {
  const auto tokenizer = load_tokenizer(kGoldenModels / "llama");
  const json entries = json_of(kTestData / "golden" / "tokenizers.json")["llama"];
  ASSERT_GT(entries.size(), 30u);
  for (const json& entry : entries) {
    const auto text = entry["text"].get<std::string>();
    const auto prompt_ids = entry["prompt_ids"].get<Ids>();
    EXPECT_EQ(encode_target(*tokenizer, text, 1 << 20, 2), entry["target_ids"].get<Ids>()) << text;
    EXPECT_EQ(encode_target(*tokenizer, text, 16, 2), entry["target_ids_max16"].get<Ids>()) << text;
    EXPECT_EQ(encode_prompt(*tokenizer, text, 1 << 20), prompt_ids) << text;
    EXPECT_EQ(tokenizer->decode(prompt_ids), entry["decoded"].get<std::string>()) << text;
  }
}

// Folders as the hub has them: awkward Unicode, special tokens written in the text, added tokens, prefix spaces.
TEST(Tokenizer, GivesTheIdsOfTransformersForTheLayoutsOfTheHub) {
  const json file = json_of(kTestData / "tokenizers" / "layouts.json");
  for (const auto& [name, layout] : file["layouts"].items()) {
    const bool is_t5 = layout["model"] == "mt5";
    const std::string model = is_t5 ? "spiece.model" : "tokenizer.model";
    TemporaryFolder folder;
    fs::copy_file(kGoldenModels / layout["model"].get<std::string>() / model, folder.path() / model);
    for (const auto& [file_name, content] : layout["files"].items()) folder.write(file_name, content.dump());
    const auto tokenizer = load_tokenizer(folder.path());
    EXPECT_EQ(tokenizer->vocabulary_size(), layout["size"]) << name;
    EXPECT_EQ(tokenizer->eos_id(), layout["eos"]) << name;
    for (size_t i = 0; i < file["texts"].size(); ++i) {
      const auto text = file["texts"][i].get<std::string>();
      const auto ids = layout["ids"][i].get<Ids>();
      EXPECT_EQ(tokenizer->encode(text), ids) << name << ": " << file["texts"][i];
      EXPECT_EQ(tokenizer->decode(ids), layout["decoded"][i].get<std::string>()) << name << ": " << file["texts"][i];
    }
  }
}

TEST(Tokenizer, ReadsEveryGoldenFolder) {
  for (const char* name : {"llama", "llama-gqa", "mistral", "qwen2"}) {
    EXPECT_EQ(load_tokenizer(kGoldenModels / name)->vocabulary_size(), 1500) << name;
  }
}

TEST(Tokenizer, CutsToTheLimitAndKeepsEos) {
  const auto tokenizer = load_tokenizer(kGoldenModels / "mt5");
  const Ids whole = tokenizer->encode("one two three four");
  ASSERT_GT(whole.size(), 3u);
  EXPECT_THAT(encode_source(*tokenizer, "one two three four", "English", 3), ElementsAre(whole[0], whole[1], 1));
  EXPECT_THAT(encode_source(*tokenizer, "one two three four", "English", 1), ElementsAre(1));
  const auto framed = load_tokenizer(kGoldenModels / "xlmr");
  const Ids inner = framed->encode("one two three four");
  EXPECT_THAT(encode_source(*framed, "one two three four", "English", 3), ElementsAre(0, inner[0], 2));
  EXPECT_THAT(encode_source(*framed, "one two three four", "English", 1), ElementsAre(2));
  EXPECT_THAT(encode_prompt(*tokenizer, "one two three four", 2), ElementsAre(whole[0], whole[1]));
  EXPECT_THAT(encode_target(*tokenizer, "one two three four", 3, 77), ElementsAre(whole[0], whole[1], 77));
}

TEST(Tokenizer, PutsTheSpecialTokensOfItsFormAroundAText) {
  const auto frame = [](const char* model, std::string_view language) {
    const Frame found = load_tokenizer(kGoldenModels / model)->frame(language);
    return std::pair(found.before, found.after);
  };
  using testing::IsEmpty;
  using testing::Pair;
  EXPECT_THAT(frame("mt5", "Thai"), Pair(IsEmpty(), ElementsAre(1)));
  EXPECT_THAT(frame("llama", "Thai"), Pair(ElementsAre(1), IsEmpty()));
  EXPECT_THAT(frame("xlmr", "Thai"), Pair(ElementsAre(0), ElementsAre(2)));
  EXPECT_THAT(frame("nllb", "Thai"), Pair(ElementsAre(1676), ElementsAre(2)));
  EXPECT_THAT(frame("nllb", "unknown"), Pair(ElementsAre(1548), ElementsAre(2)));  // src_lang, eng_Latn
}

TEST(Tokenizer, RefusesALanguageThatNllbHasNoCodeFor) {
  const auto tokenizer = load_tokenizer(kGoldenModels / "nllb");
  try {
    encode_source(*tokenizer, "nuqneH", "Klingon", 16);
    FAIL();
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("Klingon"));
    EXPECT_THAT(error.what(), HasSubstr("nllb"));
  }
}

TEST(Tokenizer, RefusesTextThatIsNotUtf8) {
  const auto tokenizer = load_tokenizer(kGoldenModels / "llama");
  EXPECT_THROW(tokenizer->encode("ab\xC3"), DataError);
  EXPECT_THROW(tokenizer->encode("\xED\xA0\x80"), DataError);
}

TEST(Tokenizer, LeavesOutIdsThatItDoesNotKnowWhenItDecodes) {
  const auto tokenizer = load_tokenizer(kGoldenModels / "llama");
  Ids ids = tokenizer->encode("two apples");
  ids.insert(ids.begin(), 1);
  ids.insert(ids.end(), {-1, 1500, 99999, 2});
  EXPECT_EQ(tokenizer->decode(ids), "two apples");
}

TEST(Tokenizer, ServesManyThreads) {
  const auto tokenizer = load_tokenizer(kGoldenModels / "mt5");
  const std::string text = "Janet’s ducks lay 16 eggs per day. ชาวสวน";
  const Ids expected = tokenizer->encode(text);
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (int& count : wrong) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) count += tokenizer->encode(text) != expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(wrong, testing::Each(0));
}

TEST(Tokenizer, RefusesAVocabularyLargerThanTheModels) {
  const auto tokenizer = load_tokenizer(kGoldenModels / "mt5");
  check_vocabulary(*tokenizer, 1500, "model");
  try {
    check_vocabulary(*tokenizer, 1499, "/models/other");
    FAIL();
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("1500"));
    EXPECT_THAT(error.what(), HasSubstr("1499"));
    EXPECT_THAT(error.what(), HasSubstr("/models/other"));
    EXPECT_THAT(error.what(), HasSubstr("mt5"));
  }
}

TEST(TokenizerFolder, IsRefusedByNameWhereItsTokenizerIsAnother) {
  TemporaryFolder folder;
  EXPECT_THAT(refusal(folder.path() / "none"), HasSubstr("no such folder"));
  EXPECT_THAT(refusal(folder.path()), HasSubstr("no tokenizer file at all"));
  folder.write("vocab.json", "{}");
  EXPECT_THAT(refusal(folder.path()), HasSubstr("found only vocab.json"));
  EXPECT_THAT(refusal(folder.path()), HasSubstr("spiece.model"));
  fs::copy_file(kGoldenModels / "llama" / "tokenizer.model", folder.path() / "tokenizer.model");
  folder.write("tokenizer_config.json", R"({"tokenizer_class": "PreTrainedTokenizerFast"})");
  EXPECT_THAT(refusal(folder.path()), HasSubstr("PreTrainedTokenizerFast is not readable"));
}

TEST(TokenizerFolder, NeedsTheKindOfModelThatItsClassHas) {
  TemporaryFolder folder;
  fs::copy_file(kGoldenModels / "mt5" / "spiece.model", folder.path() / "tokenizer.model");
  folder.write("tokenizer_config.json", R"({"tokenizer_class": "LlamaTokenizer"})");
  EXPECT_THAT(refusal(folder.path()), HasSubstr("BPE"));
  folder.write("tokenizer_config.json", R"({"tokenizer_class": "T5TokenizerFast", "extra_ids": 0})");
  EXPECT_EQ(load_tokenizer(folder.path())->vocabulary_size(), 1500);
}

class TokenizerSettingsFile : public testing::Test {
 protected:
  TokenizerSettingsFile() {
    fs::copy_file(kGoldenModels / "llama" / "tokenizer.model", folder.path() / "tokenizer.model");
  }

  std::string refusal_of(const std::string& config) const {
    folder.write("tokenizer_config.json", config);
    return refusal(folder.path());
  }

  TemporaryFolder folder;
};

TEST_F(TokenizerSettingsFile, MayHoldNumbersThatFitNoInteger) {
  EXPECT_EQ(refusal_of(R"({"tokenizer_class": "LlamaTokenizer", "model_max_length": 1000000000000000019884624838656})"),
            "no error");
}

TEST_F(TokenizerSettingsFile, IsRefusedWithItsPathAndKey) {
  const std::string path = (folder.path() / "tokenizer_config.json").string();
  EXPECT_THAT(refusal_of("{"), HasSubstr(path + ": not JSON"));
  EXPECT_THAT(refusal_of("[1]"), HasSubstr(path + ": expected an object"));
  EXPECT_THAT(refusal_of("{\"a\":" + std::string(100, '[') + std::string(100, ']') + "}"), HasSubstr("levels"));
  EXPECT_THAT(refusal_of(R"({"legacy": "yes"})"), HasSubstr(path + ": legacy"));
  EXPECT_THAT(refusal_of(R"({"eos_token": 2})"), HasSubstr(path + ": eos_token"));
  EXPECT_THAT(refusal_of(R"({"eos_token": null})"), HasSubstr("no eos_token"));
  EXPECT_THAT(refusal_of(R"({"added_tokens_decoder": {"x": {"content": "<s>"}}})"), HasSubstr("'x'"));
  EXPECT_THAT(refusal_of(R"({"added_tokens_decoder": {"1": {}}})"), HasSubstr("no content"));
  EXPECT_THAT(refusal_of(R"({"added_tokens_decoder": {"9": {"content": "<s>"}}})"), HasSubstr("declared with id 9"));
  EXPECT_THAT(refusal_of(R"({"additional_special_tokens": [{"content": "x", "single_word": 1}]})"),
              HasSubstr("single_word"));
}

TEST_F(TokenizerSettingsFile, HoldsIdsThatAreNumbersOfTheirRange) {
  for (const char* id : {"-1", "2.5", "1e300", "2147483648", "18446744073709551615"}) {
    const std::string number(id);
    EXPECT_THAT(refusal_of(R"({"extra_ids": )" + number + "}"), HasSubstr("extra_ids: expected a whole number")) << id;
    folder.write("added_tokens.json", R"({"<new>": )" + number + "}");
    EXPECT_THAT(refusal_of("{}"), HasSubstr("<new>: expected a whole number")) << id;
    fs::remove(folder.path() / "added_tokens.json");
  }
  EXPECT_THAT(refusal_of(R"({"tokenizer_class": "T5Tokenizer", "extra_ids": 1000000000})"),
              HasSubstr("expected at most 65536"));
}

TEST_F(TokenizerSettingsFile, MayAskForWholeWords) {
  folder.write("tokenizer_config.json", R"({"tokenizer_class": "LlamaTokenizer",
                 "additional_special_tokens": [{"content": "cat", "single_word": true}]})");
  const auto tokenizer = load_tokenizer(folder.path());
  EXPECT_EQ(tokenizer->encode("cat"), Ids{1500});
  EXPECT_THAT(tokenizer->encode("a cat!"), testing::Contains(1500));
  EXPECT_THAT(tokenizer->encode("cats concat"), testing::Not(testing::Contains(1500)));
}

TEST_F(TokenizerSettingsFile, TakesAddedTokensFromTokenizerJson) {
  folder.write("tokenizer.json", R"({"added_tokens": [{"id": 1500, "content": "<new>", "special": true,
                 "normalized": false, "lstrip": false, "rstrip": false, "single_word": false}],
                 "model": {"vocab": {"a": 0}}})");
  const auto tokenizer = load_tokenizer(folder.path());
  EXPECT_EQ(tokenizer->vocabulary_size(), 1501);
  EXPECT_EQ(tokenizer->encode("<new>"), Ids{1500});
}

}  // namespace
}  // namespace layalign::data
