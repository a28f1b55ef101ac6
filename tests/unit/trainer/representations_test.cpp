#include "trainer/representations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "data/error.h"
#include "tests/unit/trainer/scratch_folder.h"
#include "trainer/representations_report.h"

namespace layalign::trainer {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

data::EvaluationItem item(const std::string& language, int64_t index, const std::string& answer) {
  return {.language = language,
          .source = language + std::to_string(index),
          .answer = answer,
          .index = index,
          .origin = language + ".jsonl:" + std::to_string(index + 1)};
}

TEST(Representations, SimilaritiesAreThoseComputedByHand) {
  const auto english = at::tensor({1., 0., 0., 2.}).view({2, 2});  // of other lengths, which do not matter
  const auto same = english * 3;
  const auto other = at::tensor({1., 1., 1., 0.}).view({2, 2});
  const auto found = similarities(at::stack({english, same, other}).to(at::kFloat));
  ASSERT_EQ(found.size(), 2u);
  EXPECT_DOUBLE_EQ(found[0].cosine, 1);
  EXPECT_DOUBLE_EQ(found[0].unrelated_cosine, 0);
  EXPECT_DOUBLE_EQ(found[0].retrieval, 1);
  // (1, 1) is as near to both English vectors, the first is taken; (1, 0) is the first one.
  EXPECT_DOUBLE_EQ(found[1].cosine, std::sqrt(0.5) / 2);
  EXPECT_DOUBLE_EQ(found[1].unrelated_cosine, (std::sqrt(0.5) + 1) / 2);
  EXPECT_DOUBLE_EQ(found[1].retrieval, 0.5);
}

TEST(Representations, ASingleSentenceHasNoOther) {
  const auto found = similarities(at::ones({2, 1, 3}));
  EXPECT_TRUE(std::isnan(found.at(0).unrelated_cosine));
  EXPECT_EQ(found[0].retrieval, 1);
}

TEST(Representations, SentencesAreThoseThatEveryLanguageHasEnglishFirst) {
  const auto found = parallel_sentences({item("Thai", 0, "1"), item("Thai", 1, "2"), item("English", 0, "1"),
                                         item("English", 1, "2"), item("Bengali", 1, "2")});
  EXPECT_THAT(found.languages, ElementsAre("English", "Thai", "Bengali"));
  EXPECT_THAT(found.indices, ElementsAre(1));
  std::vector<std::string> sources;
  for (const auto& one : found.items) sources.push_back(one.source);
  EXPECT_THAT(sources, ElementsAre("English1", "Thai1", "Bengali1"));
}

void expect_refused(const std::vector<data::EvaluationItem>& items, const std::string& message) {
  try {
    parallel_sentences(items);
    ADD_FAILURE() << "not refused";
  } catch (const data::DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr(message));
  }
}

TEST(Representations, SentencesThatAreNotTheSameAreRefused) {
  expect_refused({item("English", 0, "1"), item("English", 1, "2"), item("Thai", 0, "1"), item("Thai", 1, "3")},
                 "Thai.jsonl:2: the answer is 3, in English (English.jsonl:2) it is 2");
  expect_refused({item("Thai", 0, "1"), item("Bengali", 0, "1")}, "English and of another language");
  expect_refused({item("English", 0, "1")}, "is English alone");
}

TEST(Representations, TheReportHasEveryNumber) {
  const ScratchFolder folder;
  const RepresentationsReport report{.mode = "layalign",
                                     .weights = "w.safetensors",
                                     .languages = {"Thai"},
                                     .sentences = 1,
                                     .layers = {{"encoder.0", {{0.25, std::numeric_limits<double>::quiet_NaN(), 1}}},
                                                {"llm.12", {{0.5, 0.125, 0.75}}}}};
  write_similarities(folder / "r.json", report);
  const auto json = nlohmann::json::parse(read_bytes(folder / "r.json"));
  EXPECT_EQ(json.at("layers").at("llm.12").at("Thai"),
            (nlohmann::json{{"retrieval", 0.75}, {"cosine", 0.5}, {"unrelated_cosine", 0.125}}));
  EXPECT_TRUE(json.at("layers").at("encoder.0").at("Thai").at("unrelated_cosine").is_null());
  EXPECT_EQ(json.at("weights"), "w.safetensors");
  EXPECT_EQ(similarity_table(report),
            "\nretrieval of the English sentence in percent: layalign (w.safetensors), 1 sentences\n"
            "               Thai\n"
            "encoder.0     100.0\n"
            "llm.12         75.0\n"
            "\ncosine to the English sentence (to the others): layalign\n"
            "                     Thai\n"
            "encoder.0      0.25 (nan)\n"
            "llm.12        0.50 (0.12)\n");
}

}  // namespace
}  // namespace layalign::trainer
