// A cache that was made with another tokenizer, other lengths or another corpus: what it holds for other texts is never taken for theirs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>

#include "tests/cli/cache_run.h"

namespace layalign::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
namespace fs = std::filesystem;

const std::string kMiniature = LAYALIGN_SOURCE_DIR "/tests/miniature/";
constexpr int kRows = 24, kEpochs = 2;

/// The miniature models, whose tokenizers read text, and a cache of a small corpus.
class StaleCache : public CacheRun {
 protected:
  void SetUp() override {
    std::string corpus;
    std::ifstream rows(kMiniature + "data/msvamp/test_English.jsonl");
    std::string line;
    for (int i = 0; i < kRows && std::getline(rows, line); ++i) {
      const auto row = nlohmann::json::parse(line);
      corpus += nlohmann::json{{"source", row.at("m_query")}, {"target", "It is " + row.at("response").get<std::string>()}}.dump() + "\n";
    }
    folder.write("corpus.jsonl", corpus);
    config = folder
                 .write("run.yaml", "model: {encoder: " + kMiniature + "models/encoder, llm: " + kMiniature +
                                        "models/llm}\nparallel: {device: cpu, threads: 1}\ncache: {path: " + cache().string() +
                                        "}\nstages:\n  - {name: only, corpus: {format: jsonl, path: corpus.jsonl}, epochs: " +
                                        std::to_string(kEpochs) +
                                        ", global_batch: 6, micro_batch: 3, lr: 1.0e-4, dev_size: 0}\noptimizer: {eps: 1.0e-4}\n")
                 .string();
    ASSERT_EQ(program(1, "build " + config).code, 0);
    ASSERT_EQ(trained("first", "--set cache.mode=read").code, 0);
  }

  /// The miniature's encoder with another file of its folder. Its weights and its config are the same.
  std::string encoder_with(const std::string& file, const fs::path& other) const {
    const fs::path copy = folder.path("encoder");
    fs::copy(kMiniature + "models/encoder", copy);
    fs::copy_file(other, copy / file, fs::copy_options::overwrite_existing);
    return " --set model.encoder=" + copy.string();
  }

  /// How many of the texts the cache holds.
  int cached(const std::string& more) const {
    const auto plan = program(1, "build --dry-run " + config + more);
    std::smatch found;
    EXPECT_TRUE(std::regex_search(plan.output, found, std::regex("\n(\\d+) of them are cached;"))) << plan.output;
    return found.empty() ? -1 : std::stoi(found[1]);
  }

  /// `more` changes the ids of some texts, or all. The cache as it is serves the others alone; after another build it serves all, and
  /// whoever used it before, too.
  void expect_only_known_texts_are_read(const std::string& more) {
    const int known = cached(more);
    const auto refused = trained("refused", "--set cache.mode=read" + more);
    EXPECT_EQ(refused.code, 65) << refused.output;
    EXPECT_THAT(refused.output,
                testing::ContainsRegex("[.]jsonl:[0-9]+: its encoder states are not in the cache " + cache().string()));

    ASSERT_EQ(trained("online", "--set cache.mode=off" + more).code, 0);
    EXPECT_NE(losses("online"), losses("first"));
    const auto grown = folder.path("grown");
    fs::copy(cache(), grown);
    const auto partly = trained("partly", "--set cache.mode=read_write --set cache.path=" + grown.string() + more);
    ASSERT_EQ(partly.code, 0) << partly.output;
    EXPECT_THAT(partly.output, HasSubstr("cache: " + std::to_string(kEpochs * known) + " texts read"));
    EXPECT_THAT(partly.output, HasSubstr(std::to_string(kEpochs * (kRows - known)) + " computed"));
    expect_like_online("partly");

    const auto built = program(2, "build " + config + more);
    ASSERT_EQ(built.code, 0) << built.output;
    const auto read = trained("read", "--set cache.mode=read" + more);
    ASSERT_EQ(read.code, 0) << read.output;
    EXPECT_THAT(read.output, HasSubstr(", 0 computed"));
    expect_like_online("read");
    ASSERT_EQ(trained("first-again", "--set cache.mode=read").code, 0);
    EXPECT_EQ(losses("first-again"), losses("first"));
  }
};

TEST_F(StaleCache, AnotherTokenizerIsOtherTexts) {
  const auto other = encoder_with("spiece.model", kModels + "mt5/spiece.model");
  EXPECT_EQ(cached(other), 0);
  expect_only_known_texts_are_read(other);
}

TEST_F(StaleCache, AnotherTokenizerThatGivesTheSameIdsIsTheSameTexts) {
  const auto settings = folder.write("settings.json", R"({"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "model_max_length": 1024})");
  const auto same = trained("same", "--set cache.mode=read" + encoder_with("tokenizer_config.json", settings));
  ASSERT_EQ(same.code, 0) << same.output;
  EXPECT_EQ(losses("same"), losses("first"));
}

TEST_F(StaleCache, OtherLengthsAreOtherTextsWhereTheyCut) {
  const auto at_most = [](int tokens) { return " --set stages.0.max_source_tokens=" + std::to_string(tokens); };
  ASSERT_EQ(trained("longer", "--set cache.mode=read" + at_most(2000)).code, 0);
  EXPECT_EQ(losses("longer"), losses("first"));
  const auto shorter = at_most(60);
  EXPECT_THAT(cached(shorter), AllOf(testing::Gt(0), testing::Lt(kRows))) << "it cuts some";
  expect_only_known_texts_are_read(shorter);
}

TEST_F(StaleCache, AnotherCorpusIsOtherTextsInTheLinesThatDiffer) {
  fs::copy_file(folder.path("corpus.jsonl"), folder.path("other.jsonl"));
  replace_in_file(folder.path("other.jsonl"), "18 kids", "19 kids");
  const std::string other = " --set stages.0.corpus.path=other.jsonl";
  EXPECT_EQ(cached(other), kRows - 1);
  const auto refused = trained("named", "--set cache.mode=read" + other);
  EXPECT_THAT(refused.output, HasSubstr("other.jsonl:1: its encoder states are not in the cache"));
  expect_only_known_texts_are_read(other);
}

}  // namespace
}  // namespace layalign::test
