#include "trainer/evaluation_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "data/prompts.h"
#include "tests/unit/trainer/scratch_folder.h"
#include "trainer/answering.h"
#include "trainer/error.h"
#include "trainer/evaluation_files.h"

namespace layalign::trainer {
namespace {

using data::EvaluationItem;
using data::EvaluationTask;
using nlohmann::json;
using testing::HasSubstr;

EvaluationItem question(const std::string& language, int64_t index, const std::string& answer) {
  const std::string text = "Frage " + std::to_string(index) + "?";
  return {language, text, data::math_prompt(text), answer, index, "file:" + std::to_string(index + 1)};
}

/// The report of questions of one mode with these outputs.
TaskReport scored(EvaluationTask task, const std::string& mode, const std::vector<EvaluationItem>& items,
                  const std::vector<GeneratedOutput>& outputs) {
  const ScratchFolder folder;
  EvaluationOutputs file(folder / "outputs.jsonl", json::object());
  for (size_t i = 0; i < outputs.size(); ++i) {
    file.append(key_of(task, mode, items[i]), outputs[i]);
  }
  return make_report(task, mode, items, file);
}

/// Four questions a language, the answer to each is 7; `correct` of them are answered.
TaskReport report_of(const std::vector<std::pair<std::string, int>>& correct, const std::string& mode = "layalign",
                     EvaluationTask task = EvaluationTask::kMgsm) {
  std::vector<EvaluationItem> items;
  std::vector<GeneratedOutput> outputs;
  for (const auto& [language, right] : correct) {
    for (int i = 0; i < 4; ++i) {
      items.push_back(question(language, i, "7"));
      outputs.push_back({i < right ? "7" : "no", 10, 0.5});
    }
  }
  return scored(task, mode, items, outputs);
}

std::vector<std::string> average_names(const TaskReport& report) {
  std::vector<std::string> names;
  for (const auto& average : report.averages) names.push_back(average.name);
  return names;
}

TEST(WilsonInterval, HoldsTheSharesThatTheScoreTestAccepts) {
  // The shares p with |accuracy - p| <= z * sqrt(p * (1 - p) / samples), found by bisection.
  const Interval middle = wilson_interval(130.0 / 250, 250);
  EXPECT_NEAR(middle.low, 45.8237, 1e-4);
  EXPECT_NEAR(middle.high, 58.1158, 1e-4);
  EXPECT_NEAR(wilson_interval(0, 10).low, 0, 1e-12);
  EXPECT_NEAR(wilson_interval(0, 10).high, 27.7533, 1e-4);
  EXPECT_NEAR(wilson_interval(1, 10).low, 72.2467, 1e-4);
  EXPECT_NEAR(wilson_interval(1, 10).high, 100, 1e-12);
}

TEST(Report, CountsByLanguage) {
  const TaskReport report = report_of({{"Thai", 1}, {"German", 3}});
  ASSERT_EQ(report.languages.size(), 2u);
  EXPECT_EQ(report.languages[1].language, "German");
  EXPECT_EQ(report.languages[1].correct, 3);
  EXPECT_EQ(report.languages[1].samples, 4);
  EXPECT_EQ(report.languages[1].tokens, 40);
  EXPECT_EQ(report.languages[1].generation_s, 2.0);
  EXPECT_EQ(report.languages[1].accuracy(), 0.75);
  EXPECT_NEAR(report.languages[1].standard_error(), 0.25, 1e-15);  // sqrt(0.75 * 0.25 / 3)
  EXPECT_TRUE(report.items[0].score.correct);
  EXPECT_EQ(report.items[1].score.prediction, "0.0");
  EXPECT_THROW(scored(EvaluationTask::kMgsm, "llm", {question("Thai", 0, "1")}, {}), std::out_of_range);
}

TEST(Report, AveragesCountEveryLanguageTheSame) {
  const TaskReport report = report_of({{"English", 4}, {"Bengali", 0}, {"Thai", 2}, {"German", 3}, {"French", 1}});
  EXPECT_EQ(average_names(report), (std::vector<std::string>{"low-resource", "high-resource", "average"}));
  EXPECT_NEAR(report.averages[0].accuracy, 0.25, 1e-15);
  EXPECT_NEAR(report.averages[1].accuracy, 2.0 / 3, 1e-15);
  EXPECT_NEAR(report.averages[2].accuracy, 0.5, 1e-15);
  EXPECT_EQ(report.averages[2].samples, 20);
  EXPECT_EQ(report.averages[2].effective_samples, 20);  // equally many a language: simply all
  // Of Bengali 0, of Thai sqrt(0.25 / 3).
  EXPECT_NEAR(report.averages[0].standard_error, std::sqrt(0.25 / 3) / 2, 1e-15);
}

TEST(Report, TeluguOfMgsmIsInNoAverage) {
  EXPECT_EQ(report_of({{"Thai", 2}, {"Telugu", 4}}).averages.back().accuracy, 0.5);
  EXPECT_EQ(average_names(report_of({{"Thai", 2}, {"Telugu", 4}})),
            (std::vector<std::string>{"low-resource", "average"}));
  EXPECT_EQ(report_of({{"Telugu", 4}}).averages.back().accuracy, 1.0);
  EXPECT_EQ(average_names(report_of({{"Telugu", 4}})), std::vector<std::string>{"average"});
}

TEST(AccuracyOf, IsTheAverageOfTheReport) {
  const std::vector<std::pair<std::string, int>> correct{{"Thai", 2}, {"Telugu", 4}, {"German", 3}};
  std::vector<EvaluationItem> items;
  std::vector<int64_t> right;
  for (const auto& [language, count] : correct) {
    for (int i = 0; i < 4; ++i) {
      items.push_back(question(language, i, "7"));
      right.push_back(i < count);
    }
  }
  const auto accuracy = accuracy_of(EvaluationTask::kMgsm, items, right);
  EXPECT_EQ(accuracy.mean, report_of(correct).averages.back().accuracy);
  EXPECT_EQ(accuracy.mean, 0.625);
  EXPECT_EQ(accuracy.questions, 12);
  EXPECT_EQ(accuracy.by_language,
            (std::vector<std::pair<std::string, double>>{{"Thai", 0.5}, {"Telugu", 1}, {"German", 0.75}}));
  EXPECT_EQ(accuracy_of(EvaluationTask::kMsvamp, items, right).mean, 0.75);
}

TEST(Table, OfOneModeHasItsColumns) {
  EXPECT_EQ(score_table({report_of({{"Bengali", 1}, {"English", 3}, {"Telugu", 4}})}),
            "mgsm: accuracy in percent, layalign\n"
            "language       accuracy  95 % interval  samples  tokens/s\n"
            "Bengali            25.0     4.6 - 69.9        4      20.0\n"
            "English            75.0    30.1 - 95.4        4      20.0\n"
            "Telugu *          100.0   51.0 - 100.0        4      20.0\n"
            "low-resource       25.0     4.6 - 69.9        4      20.0\n"
            "high-resource      75.0    30.1 - 95.4        4      20.0\n"
            "average            50.0    21.5 - 78.5        8      20.0\n"
            "* not in the averages, because the paper has no number for it\n");
}

TEST(Table, OfSeveralModesHasAnAccuracyEach) {
  EXPECT_EQ(
      score_table({report_of({{"Thai", 0}}, "llm"), report_of({{"Thai", 2}}, "mapping"), report_of({{"Thai", 4}})}),
      "mgsm: accuracy in percent, llm, mapping, layalign\n"
      "language      samples   llm  95 % interval  mapping  95 % interval  layalign  95 % interval\n"
      "Thai                4   0.0     0.0 - 49.0     50.0    15.0 - 85.0     100.0   51.0 - 100.0\n"
      "low-resource        4   0.0     0.0 - 49.0     50.0    15.0 - 85.0     100.0   51.0 - 100.0\n"
      "average             4   0.0     0.0 - 49.0     50.0    15.0 - 85.0     100.0   51.0 - 100.0\n"
      "tokens/s               20.0                    20.0                     20.0\n");
}

TEST(Table, OfPerplexityHasTheSameForm) {
  const PerplexityReport one{.mode = "layalign",
                             .languages = {{"Bengali", 3.25, 1000}, {"Thai", 12345.6, 10}},
                             .perplexity = 3.5,
                             .label_tokens = 1010};
  PerplexityReport other = one;
  other.mode = "llm";
  other.perplexity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(perplexity_table({one}),
            "perplexity, layalign\n"
            "language  perplexity  label tokens\n"
            "Bengali         3.25          1000\n"
            "Thai       1.235e+04            10\n"
            "all              3.5          1010\n");
  EXPECT_EQ(perplexity_table({other, one}),
            "perplexity, llm, layalign\n"
            "language        llm   layalign  label tokens\n"
            "Bengali        3.25       3.25          1000\n"
            "Thai      1.235e+04  1.235e+04            10\n"
            "all             inf        3.5          1010\n");
}

TEST(PublicFiles, OfMathHaveTheFieldsOfThePublicCode) {
  const ScratchFolder folder;
  const std::vector<EvaluationItem> items{question("Bengali", 0, "2125"), question("Bengali", 1, "7"),
                                          question("Bengali", 2, "1"), question("Thai", 0, "1")};
  write_public_files(folder / "mgsm/layalign",
                     scored(EvaluationTask::kMgsm, "layalign", items,
                            {{"১২ + $2,125.00", 5, 1}, {"none", 1, 1}, {"2", 1, 1}, {"1", 1, 1}}));
  EXPECT_EQ(read_bytes(folder / "mgsm/layalign/scores.tsv"), "Bengali\t33.33\nThai\t100.0\nAverage\t66.67\n");
  const auto records = nlohmann::ordered_json::parse(read_bytes(folder / "mgsm/layalign/Bengali.json"));
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records[0].dump(), nlohmann::ordered_json({{"question", "Frage 0?"},
                                                       {"answer", 2125.0},
                                                       {"prompt", data::math_prompt("Frage 0?")},
                                                       {"prediction", "2125.0"},
                                                       {"output", "১২ + $2,125.00"},
                                                       {"correct", true}})
                                   .dump());
  EXPECT_EQ(records[1]["prediction"], "0.0");
  EXPECT_EQ(records[1]["correct"], false);
  EXPECT_THAT(read_bytes(folder / "mgsm/layalign/Bengali.json"),
              HasSubstr("  \"output\": \"১২"));  // indented, not escaped
}

TEST(PublicFiles, OfLabelsHoldTheStrippedOutput) {
  const ScratchFolder folder;
  const EvaluationItem item{"../Thai", "Label:", "Label:", "Neutral", 0, "test.json:1"};
  write_public_files(folder.path(), scored(EvaluationTask::kXnli, "llm", {item}, {{" Neutral\n", 2, 1}}));
  // A language is a word of the file: it must not lead out of the folder.
  const auto records = json::parse(read_bytes(folder / "..__Thai.json"));
  EXPECT_EQ(records, json::parse(R"([{"prompt": "Label:", "prediction": "Neutral", "answer": "Neutral",
                                      "output": " Neutral\n", "correct": true}])"));
}

TEST(PublicFiles, ThatCannotBeWrittenNameThePath) {
  const ScratchFolder folder;
  write_bytes(folder / "taken", "a file");
  try {
    write_public_files(folder / "taken/mgsm", report_of({{"Thai", 1}}));
    FAIL();
  } catch (const IoError& error) {
    EXPECT_THAT(error.what(), HasSubstr((folder / "taken/mgsm").string()));
  }
}

class HarnessFiles : public testing::Test {
 protected:
  void SetUp() override {
    const HarnessRun run{.model_name = "runs/math/last",
                         .date = "2026-01-31T12-00-00",
                         .start_s = 1769860800,
                         .evaluation_s = 12.5,
                         .git_hash = "abc"};
    const nlohmann::ordered_json config{
        {"model", "layalign"}, {"limit", 4}, {"gen_kwargs", {{"do_sample", false}, {"max_gen_toks", 512}}}};
    const PerplexityReport perplexity{
        .mode = "layalign", .languages = {{"Thai", 3.25, 1000}}, .perplexity = 3.25, .label_tokens = 1000};
    write_harness_files(folder / "out", {report_of({{"Bengali", 1}, {"English", 3}, {"Telugu", 4}})}, {perplexity}, run,
                        config);
    results = json::parse(read_bytes(folder / "out/results_2026-01-31T12-00-00.json"));
  }

  ScratchFolder folder;
  json results;
};

TEST_F(HarnessFiles, HaveTheKeysOfTheHarness) {
  for (const char* key :
       {"results", "groups", "group_subtasks", "configs", "versions", "n-shot", "higher_is_better", "n-samples",
        "config", "git_hash", "date", "model_name", "model_name_sanitized", "total_evaluation_time_seconds"}) {
    EXPECT_TRUE(results.contains(key)) << key;
  }
  EXPECT_EQ(results["config"], json::parse(R"({"model": "layalign", "limit": 4,
                                               "gen_kwargs": {"do_sample": false, "max_gen_toks": 512}})"));
  EXPECT_EQ(results["model_name_sanitized"], "runs__math__last");
  EXPECT_EQ(results["total_evaluation_time_seconds"], "12.5");
  EXPECT_EQ(results["versions"]["mgsm_bn"], 1.0);
  EXPECT_EQ(results["n-shot"]["mgsm_bn"], 0);
  EXPECT_EQ(results["higher_is_better"]["mgsm_bn"], (json{{"acc", true}}));
  EXPECT_EQ(results["n-samples"]["mgsm_en"], (json{{"original", 4}, {"effective", 4}}));
  EXPECT_EQ(results["configs"]["mgsm_bn"]["output_type"], "generate_until");
  EXPECT_EQ(results["configs"]["mgsm_bn"]["generation_kwargs"]["max_gen_toks"], 512);
}

TEST_F(HarnessFiles, HaveAccuraciesAsShares) {
  EXPECT_EQ(results["results"]["mgsm_bn"]["acc,none"], 0.25);
  EXPECT_EQ(results["results"]["mgsm_bn"]["acc_stderr,none"], 0.25);
  EXPECT_EQ(results["results"]["mgsm_te"]["acc,none"], 1.0);
  EXPECT_EQ(results["groups"]["mgsm"]["acc,none"], 0.5);
  EXPECT_EQ(results["groups"]["mgsm_low_resource"]["acc,none"], 0.25);
  EXPECT_EQ(results["groups"]["mgsm_high_resource"]["acc,none"], 0.75);
  EXPECT_EQ(results["group_subtasks"]["mgsm"], (json{"mgsm_bn", "mgsm_en"}));
  EXPECT_EQ(results["results"]["perplexity_th"]["perplexity,none"], 3.25);
  EXPECT_EQ(results["results"]["perplexity_th"]["perplexity_stderr,none"], "N/A");
}

TEST_F(HarnessFiles, HaveALineASample) {
  const std::string lines = read_bytes(folder / "out/samples_mgsm_bn_2026-01-31T12-00-00.jsonl");
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 4);
  const json sample = json::parse(lines.substr(0, lines.find('\n')));
  EXPECT_EQ(sample["doc_id"], 0);
  EXPECT_EQ(sample["doc"]["question"], "Frage 0?");
  EXPECT_EQ(sample["target"], "7");
  EXPECT_EQ(sample["arguments"]["gen_args_0"]["arg_0"], data::math_prompt("Frage 0?"));
  EXPECT_EQ(sample["arguments"]["gen_args_0"]["arg_1"]["max_gen_toks"], 512);
  EXPECT_EQ(sample["resps"], json::parse(R"([["7"]])"));
  EXPECT_EQ(sample["filtered_resps"], json::parse(R"(["7.0"])"));
  EXPECT_EQ(sample["filter"], "none");
  EXPECT_EQ(sample["metrics"], json{"acc"});
  EXPECT_EQ(sample["acc"], 1.0);
  EXPECT_TRUE(std::filesystem::exists(folder / "out/samples_mgsm_te_2026-01-31T12-00-00.jsonl"));
}

TEST(Harness, OneSampleHasNoError) {
  const ScratchFolder folder;
  HarnessRun run;
  run.date = "d";
  write_harness_files(folder.path(), {scored(EvaluationTask::kMgsm, "llm", {question("Thai", 0, "1")}, {{"1", 1, 1}})},
                      {}, run, nlohmann::ordered_json::object());
  const json results = json::parse(read_bytes(folder / "results_d.json"));
  EXPECT_EQ(results["results"]["mgsm_th"]["acc_stderr,none"], "N/A");
}

}  // namespace
}  // namespace layalign::trainer
