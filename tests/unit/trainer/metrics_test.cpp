#include "trainer/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "tests/unit/trainer/scratch_folder.h"
#include "trainer/error.h"

namespace layalign::trainer {
namespace {

using testing::HasSubstr;

StepMetrics step_metrics(int64_t stage_index, int64_t step) {
  return {.stage = stage_index == 0 ? "translation" : "task",
          .stage_index = stage_index,
          .step = step,
          .epoch = 0.25,
          .loss = 3.21043217,
          .grad_norm = 0.812345678,
          .lr = 9.1e-4,
          .samples = 8,
          .label_tokens = 77,
          .tokens_per_s = 5321.5,
          .samples_per_s = 12.5,
          .step_s = 0.64,
          .peak_memory_bytes = 123456789};
}

std::vector<std::pair<int64_t, int64_t>> stages_and_steps(const std::filesystem::path& path) {
  std::vector<std::pair<int64_t, int64_t>> result;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const auto json = nlohmann::json::parse(line);
    result.emplace_back(json.at("stage_number"), json.at("step"));
  }
  return result;
}

TEST(Metrics, WritesTheKeysInOrderWithNineDigits) {
  EXPECT_EQ(to_json(step_metrics(0, 120)),
            R"({"stage": "translation", "stage_number": 1, "step": 120, "epoch": 0.25, "loss": 3.21043217, )"
            R"("grad_norm": 0.812345678, "lr": 0.00091, "samples": 8, "label_tokens": 77, "tokens_per_s": 5321.5, )"
            R"("samples_per_s": 12.5, "step_s": 0.64, "peak_memory_bytes": 123456789})");
}

TEST(Metrics, GatesAreAListBehindTheOthers) {
  StepMetrics metrics = step_metrics(0, 120);
  metrics.gates = {0.1F, -2, std::numeric_limits<float>::quiet_NaN()};
  EXPECT_THAT(to_json(metrics), testing::EndsWith(R"("peak_memory_bytes": 123456789, "gates": [0.100000001, -2, null]})"));
}

StepCounters counters() {
  StepCounters counters{.encoder_tokens = 40,
                        .label_ratio = 0.5,
                        .llm_rows = 80,
                        .padding_rows = 0,
                        .rank_imbalance = 1.25,
                        .micro_batches = 2,
                        .tp = {10, 2, 4096},
                        .world = {1, 0, 512},
                        .peak_tensor_bytes = 7777};
  counters.flops.forward[static_cast<size_t>(model::Part::kLlm)] = 100;
  counters.flops.backward[static_cast<size_t>(model::Part::kLlm)] = 90;
  counters.flops.forward[static_cast<size_t>(model::Part::kFusion)] = 5;
  counters.flops.backward[static_cast<size_t>(model::Part::kFusion)] = 6;
  return counters;
}

TEST(Metrics, CountersAreAnObjectBehindAll) {
  StepMetrics metrics = step_metrics(0, 120);
  metrics.llm_tokens = 160;
  metrics.mfu = 0.25;
  metrics.phase_s = PhaseSeconds{0.1, 0.2, 0.3, 0.4, 0.05, 0.06};
  metrics.counters = counters();
  const std::string flops =
      R"({"encoder": 0, "llm_forward": 100, "llm_backward": 90, "mapping": 0, "aligner": 0, "fusion": 11, "lm_head": 0, "other": 0})";
  const std::string text =
      R"("peak_memory_bytes": 123456789, "mfu": 0.25, "phase_s": {"data": 0.1, "encoder": 0.2, "forward": 0.3, "backward": 0.4, )"
      R"("reduce": 0.05, "update": 0.06}, "counters": {"llm_tokens": 160, "encoder_tokens": 40, "micro_batches": 2, )"
      R"("label_ratio": 0.5, "padding_ratio": 0, "rank_imbalance": 1.25, "peak_tensor_bytes": 7777, "flops": )" +
      flops +
      R"(, "collectives": {"tp": {"all_reduces": 10, "all_gathers": 2, "bytes": 4096}, )"
      R"("world": {"all_reduces": 1, "all_gathers": 0, "bytes": 512}})";
  EXPECT_THAT(to_json(metrics), testing::EndsWith(text + "}}"));
  metrics.counters->executed = model::WorkCount{.flops = metrics.counters->flops, .operators = 321, .moved_bytes = 654, .host_syncs = 1};
  EXPECT_THAT(to_json(metrics), testing::EndsWith(text + R"(, "executed": {"flops": )" + flops +
                                                  R"(, "operators": 321, "moved_bytes": 654, "host_syncs": 1}}})"));
}

TEST(Metrics, NineDigitsGiveEveryFloat32Back) {
  float value = 9.062845f;
  for (int i = 0; i < 1000; ++i) {
    StepMetrics metrics = step_metrics(0, 1);
    metrics.loss = value;
    EXPECT_EQ(nlohmann::json::parse(to_json(metrics)).at("loss").get<float>(), value);
    value = std::nextafter(value, 10.0f);
  }
}

TEST(Metrics, StaysValidJsonForAnyNameAndNumber) {
  const EvaluationMetrics metrics{.stage = "a \"name\"\n",
                                  .step = 3,
                                  .loss = 800,
                                  .perplexity = std::numeric_limits<double>::infinity(),
                                  .language_perplexity = {{"Thai", 12.5}, {"Bengali", 3}}};
  const auto json = nlohmann::json::parse(to_json(metrics));
  EXPECT_EQ(json.at("stage"), "a \"name\"\n");
  EXPECT_TRUE(json.at("perplexity").is_null());
  EXPECT_EQ(json.at("language_perplexity"), nlohmann::json({{"Thai", 12.5}, {"Bengali", 3.0}}));
}

TEST(Metrics, LinesAreThereWhenAppendReturnsAndStayWhenReopened) {
  const ScratchFolder scratch;
  for (int64_t step = 1; step <= 2; ++step) {
    MetricsFile file(scratch / "metrics.jsonl");
    file.append(step_metrics(0, step));
    EXPECT_EQ(stages_and_steps(scratch / "metrics.jsonl").size(), static_cast<size_t>(step));
  }
}

TEST(Metrics, TruncateDropsStepsThatWillBeDoneAgainAndATornLine) {
  const ScratchFolder scratch;
  const auto path = scratch / "metrics.jsonl";
  {
    MetricsFile file(path);
    for (int64_t step = 1; step <= 3; ++step) file.append(step_metrics(0, step));
    for (int64_t step = 1; step <= 4; ++step) file.append(step_metrics(1, step));
  }
  const std::string whole = read_bytes(path);
  write_bytes(path, whole + to_json(step_metrics(1, 5)).substr(0, 40));

  MetricsFile file(path);
  EXPECT_EQ(file.truncate_after(1, 4), 1);  // the torn line alone
  EXPECT_EQ(read_bytes(path), whole);
  EXPECT_EQ(file.truncate_after(1, 2), 2);
  file.append(step_metrics(1, 3));  // goes to the new file
  file.sync();
  EXPECT_EQ(stages_and_steps(path),
            (std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {1, 2}, {1, 3}, {2, 1}, {2, 2}, {2, 3}}));
  EXPECT_EQ(file.truncate_after(0, 1), 5);
  EXPECT_EQ(stages_and_steps(path), (std::vector<std::pair<int64_t, int64_t>>{{1, 1}}));
  EXPECT_EQ(file.truncate_after(0, 0), 1);
  EXPECT_EQ(read_bytes(path), "");
}

TEST(Metrics, AWholeLineWithoutItsNewlineIsTorn) {
  const ScratchFolder scratch;
  write_bytes(scratch / "metrics.jsonl", to_json(step_metrics(0, 1)));
  MetricsFile file(scratch / "metrics.jsonl");
  EXPECT_EQ(file.truncate_after(0, 1), 1);
}

TEST(Metrics, AFullDiskIsAnIoErrorThatNamesThePath) {
  MetricsFile file("/dev/full");
  try {
    file.append(step_metrics(0, 1));
    FAIL() << "the write was not refused";
  } catch (const IoError& error) {
    EXPECT_THAT(error.what(), HasSubstr("/dev/full: cannot write it: No space left on device"));
  }
}

TEST(Metrics, AMissingFolderIsAnIoError) { EXPECT_THROW(MetricsFile("/nowhere/metrics.jsonl"), IoError); }

}  // namespace
}  // namespace layalign::trainer
