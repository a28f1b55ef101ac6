#include "data/dataset_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/plan.h"
#include "tests/unit/data/temporary_folder.h"

namespace layalign::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::string kModels = LAYALIGN_SOURCE_DIR "/tests/miniature/models/";

std::string row(const std::string& source, const std::string& target, const std::string& language = "Thai") {
  return "{\"source\": \"" + source + "\", \"target\": \"" + target + "\", \"language\": \"" + language + "\"}\n";
}

/// A corpus of a test's own, checked.
class DatasetCheck : public testing::Test {
 protected:
  DatasetFacts check(const std::string& lines, const Vocabulary& vocabulary = {}) {
    configs::StageConfig stage;
    stage.corpus = {.format = "jsonl", .path = folder.write("x.jsonl", lines).string()};
    stage.max_source_tokens = stage.max_target_tokens = 4;
    return check_corpus(stage, {}, "", vocabulary, questions,
                        [&](const auto&, const DataError& error) { problems.emplace_back(error.what()); });
  }

  TemporaryFolder folder;
  QuestionIndex questions;
  std::vector<std::string> problems;
};

TEST_F(DatasetCheck, CountsWhatIsThere) {
  const auto facts = check(row("a", "b") + row("a", "c") + row("a", "b", "German") + row("a", "b") + row(" ", "b") +
                           row("e", "") + row("f\\ufffd", "g", "Klingon"));
  EXPECT_EQ(facts.size(), 7);
  EXPECT_THAT(facts.languages, ElementsAre("Thai", "German", "Klingon"));
  EXPECT_THAT(facts.samples, ElementsAre(5, 1, 1));
  EXPECT_THAT(facts.repeated.places, ElementsAre(HasSubstr("x.jsonl:4")));
  EXPECT_THAT(facts.empty_sources.places, ElementsAre(HasSubstr("x.jsonl:5")));
  EXPECT_THAT(facts.empty_targets.places, ElementsAre(HasSubstr("x.jsonl:6")));
  EXPECT_THAT(facts.damaged.places, ElementsAre(HasSubstr("x.jsonl:7")));
  EXPECT_THAT(facts.unknown.places, ElementsAre(HasSubstr("Klingon at ")));
  EXPECT_TRUE(facts.source.tokens.empty());  // no tokenizers
  EXPECT_THAT(problems, ElementsAre());
}

TEST_F(DatasetCheck, CountsTokensBeforeTheyAreCut) {
  Vocabulary vocabulary;
  vocabulary.encoder = load_tokenizer(kModels + "encoder");
  vocabulary.llm = load_tokenizer(kModels + "llm");
  std::string lines;
  for (int i = 0; i < 10; ++i) lines += row(i < 8 ? "a" : "Tom has 3 apples and buys 4 more apples", std::to_string(i));
  const auto facts = check(lines, vocabulary);
  ASSERT_EQ(facts.source.tokens.size(), 10u);
  EXPECT_EQ(facts.source.tokens[0], static_cast<int32_t>(encode_source(*vocabulary.encoder, "a", "Thai", 1000).size()));
  EXPECT_EQ(facts.source.cut(), 2);
  EXPECT_EQ(facts.source.quantile(0.5), facts.source.tokens[0]);
  EXPECT_EQ(facts.source.quantile(0.8), facts.source.tokens[0]);
  EXPECT_EQ(facts.source.quantile(0.81), facts.source.tokens[9]);
  EXPECT_EQ(facts.source.quantile(1), facts.source.tokens[9]);
  EXPECT_TRUE(facts.prompt.tokens.empty());  // the stage has none
  EXPECT_EQ(facts.target.tokens.size(), 10u);
}

TEST_F(DatasetCheck, TheSplitOfIdsDoesNotDependOnHowTheFileIsNamed) {
  std::string lines;
  for (int i = 0; i < 40; ++i) lines += "{\"source\": [" + std::to_string(i) + "], \"target\": [1]}\n";
  const auto path = folder.write("ids.jsonl", lines);
  const Vocabulary vocabulary{.encoder_size = 100, .llm_size = 100};
  std::vector<Split> splits;
  for (const auto& spelling : {path, path.parent_path() / "." / path.filename()}) {
    configs::StageConfig stage;
    stage.corpus = {.format = "token_ids", .path = spelling.string()};
    splits.push_back(split_by_group(*open_dataset(stage, {}, "", vocabulary), 9, 5));
    const auto facts = check_corpus(stage, {}, "", vocabulary, questions, {});
    splits.push_back(split_by_group(
        facts.size(), [&](int64_t i) { return facts.groups[i]; }, 9, 5));
  }
  ASSERT_EQ(splits[0].dev.size(), 9u);
  for (const auto& split : splits) EXPECT_EQ(split.dev, splits[0].dev);
}

TEST_F(DatasetCheck, TestQuestionsAreFoundByWhatTheySay) {
  questions.add({{"English", "Tom has 3 apples.", "", "3", 0, "test.jsonl:9"}});
  const auto facts =
      check(row("  tom has\\n3  Apples. ", "3") + row("ti", "Tom has 3 apples.") + row("Tom has 4 apples.", "4"));
  EXPECT_EQ(facts.test_questions.count, 2);
  EXPECT_THAT(facts.test_questions.places,
              ElementsAre(HasSubstr("x.jsonl:1 is test.jsonl:9"), HasSubstr("x.jsonl:2 is test.jsonl:9")));
}

TEST_F(DatasetCheck, GoesOnBehindBrokenLines) {
  EXPECT_EQ(check(row("a", "b") + "{\n" + row("c", "d") + "{\"target\": \"b\"}\n").size(), 2);
  EXPECT_THAT(problems, ElementsAre(HasSubstr("x.jsonl:2"), HasSubstr("x.jsonl:4: field 'source' is missing")));
}

}  // namespace
}  // namespace layalign::data
