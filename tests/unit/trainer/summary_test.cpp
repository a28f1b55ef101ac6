#include "trainer/summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/unit/trainer/scratch_folder.h"
#include "trainer/error.h"
#include "trainer/metrics.h"

namespace layalign::trainer {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

/// A run folder with two stages named translation and task, the second without evaluations.
struct FinishedRun {
  ScratchFolder scratch;
  RunFolder folder{scratch.path(), stages()};

  static std::vector<configs::StageConfig> stages() {
    std::vector<configs::StageConfig> stages(2);
    stages[0].name = "translation";
    stages[1].name = "task-x";
    return stages;
  }

  FinishedRun() {
    MetricsFile metrics(folder.metrics()), evaluations(folder.evaluations());
    for (int64_t step = 1; step <= 3; ++step) {
      metrics.append(StepMetrics{.stage = "translation", .step = step, .loss = 5.0 - step, .step_s = 0.5});
    }
    metrics.append(StepMetrics{.stage = "task-x", .stage_index = 1, .step = 1, .loss = 1.5, .step_s = 61});
    evaluations.append(EvaluationMetrics{
        .stage = "translation", .step = 2, .perplexity = 7, .best = true, .language_perplexity = {{"Thai", 7}}});
    evaluations.append(EvaluationMetrics{
        .stage = "translation", .step = 3, .perplexity = 8, .best = false, .language_perplexity = {{"Thai", 8}}});
  }
};

TEST(Summary, ReadsTheMetrics) {
  const FinishedRun run;
  const std::vector<StageSummary> stages = summarize_run(run.folder);
  ASSERT_EQ(stages.size(), 2u);
  EXPECT_EQ(stages[0].name, "translation");
  EXPECT_EQ(stages[0].steps, 3);
  EXPECT_EQ(stages[0].first_loss, 4.0);
  EXPECT_EQ(stages[0].last_loss, 2.0);
  EXPECT_EQ(stages[0].train_s, 1.5);
  EXPECT_EQ(stages[0].best_perplexity, 7.0);
  EXPECT_EQ(stages[0].best_step, 2);
  EXPECT_EQ(stages[0].last_perplexity, 8.0);
  EXPECT_THAT(stages[0].language_perplexity, ElementsAre(Pair("Thai", 8.0)));
  EXPECT_EQ(stages[1].name, "task-x");
  EXPECT_EQ(stages[1].evaluations, 0);
  EXPECT_TRUE(std::isinf(stages[1].best_perplexity));
}

TEST(Summary, TellsPeopleTheNumbersAndThePlaces) {
  const FinishedRun run;
  EXPECT_THAT(summary_text(run.folder, summarize_run(run.folder)),
              AllOf(HasSubstr("stage 1 translation: 3 steps in 2s, loss 4.000 -> 2.000\n"),
                    HasSubstr("held-out perplexity 8.000 (best 7.000 at step 2)\n    Thai            8.000\n"),
                    HasSubstr("stage 2 task-x: 1 steps in 1m01s, loss 1.500 -> 1.500\n"),
                    HasSubstr(run.folder.trainables(1).string()), HasSubstr(run.folder.metrics().string())));
}

TEST(Summary, FinishWritesItAsJson) {
  const FinishedRun run;
  finish_run(run.folder, summarize_run(run.folder));
  const auto json = nlohmann::json::parse(read_bytes(run.folder.summary()));
  EXPECT_EQ(json.at("stages").at(0).at("last_loss"), 2.0);
  EXPECT_EQ(json.at("stages").at(0).at("trainables"), "1-translation/trainables.safetensors");
  EXPECT_TRUE(json.at("stages").at(1).at("best_perplexity").is_null());
}

TEST(Summary, ABrokenLineIsNamed) {
  const FinishedRun run;
  write_bytes(run.folder.metrics(), read_bytes(run.folder.metrics()) + "{\"stage_number\": 3}\n");
  try {
    summarize_run(run.folder);
    FAIL() << "the line was taken";
  } catch (const IoError& error) {
    EXPECT_THAT(error.what(), HasSubstr("metrics.jsonl:5"));
  }
}

}  // namespace
}  // namespace layalign::trainer
