// The event files of layalign-train, read by TensorBoard's own reader: the numbers are those of metrics.jsonl, also
// after a resume.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "tests/cli/evaluation_run.h"

namespace layalign::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class TensorBoard : public testing::Test {
 protected:
  void SetUp() override {
    const std::string models = LAYALIGN_SOURCE_DIR "/tests/miniature/models/";
    json stage = {{"name", "translation"},   {"corpus", {{"format", "msvamp"}, {"task", "translation"}}},
                  {"global_batch", 4},       {"max_steps", 6},
                  {"dev_size", 6},           {"eval_every", 2},
                  {"max_target_tokens", 600}};
    json second = stage;
    second.update({{"name", "task"}, {"corpus", {{"format", "msvamp"}}}, {"prompt", true}});
    const json config = {
        {"output", run().string()},
        {"model", {{"encoder", models + "encoder"}, {"llm", models + "llm"}, {"language_layers", {1, 3}}}},
        {"data", {{"root", LAYALIGN_TEST_DATA}}},
        {"parallel", {{"device", "cpu"}}},
        {"stages", {stage, second}},
        {"eval", {{"tasks", {"msvamp"}}, {"languages", {"Thai"}}, {"limit", 1}, {"max_new_tokens", 2}}},
        {"log", {{"every", 2}}},
        {"checkpoint", {{"every", 2}, {"keep", 5}}}};
    config_path = folder.write("c.json", config.dump()).string();
  }
  fs::path run() const { return folder.path("run"); }

  /// What TensorBoard finds for a stage.
  json read(const std::string& stage) const {
    const auto outcome = run_command(LAYALIGN_TEST_PYTHON " " LAYALIGN_SOURCE_DIR "/tests/cli/read_events.py " +
                                     (run() / "tensorboard" / stage).string());
    EXPECT_EQ(outcome.code, 0) << outcome.output;
    const auto line = outcome.output.rfind("\n{");
    return json::parse(outcome.output.substr(line == std::string::npos ? 0 : line + 1));
  }
  /// A scalar has a point for each of the lines, with the value of their key; `tolerance`, relative, for the digits
  /// that the line leaves out.
  static void expect_scalar(const json& found, const std::string& tag, const std::vector<json>& lines,
                            const json::json_pointer& key, double tolerance) {
    SCOPED_TRACE(tag);
    ASSERT_TRUE(found.at("scalars").contains(tag));
    const json& points = found.at("scalars").at(tag);
    ASSERT_EQ(points.size(), lines.size());
    for (size_t i = 0; i < lines.size(); ++i) {
      EXPECT_EQ(points[i][0], lines[i].at("step"));
      const float expected = lines[i].at(key).get<float>();
      EXPECT_NEAR(points[i][1].get<double>(), expected, tolerance * std::abs(expected));
    }
  }
  /// All that a stage has shown is what its lines say.
  void expect_as_written(const std::string& name, int64_t number) {
    SCOPED_TRACE(name);
    const json found = read(name);
    std::vector<json> steps, with_gates, perplexities, accuracies;
    for (const json& line : read_jsonl(run() / "metrics.jsonl")) {
      if (line.at("stage_number") != number) continue;
      steps.push_back(line);
      if (line.contains("gates")) with_gates.push_back(line);
    }
    for (const json& line : read_jsonl(run() / "evaluations.jsonl")) {
      if (line.at("stage_number") == number) (line.contains("task") ? accuracies : perplexities).push_back(line);
    }
    ASSERT_EQ(steps.size(), 6u);
    ASSERT_EQ(perplexities.size(), 3u);
    ASSERT_EQ(accuracies.size(), 1u);
    // The loss is a float32, which nine digits name; other numbers are rounded to six or nine digits there, and to float32 here.
    constexpr double kExact = 0, kFloat32 = 1.2e-7, kSixDigits = 5.2e-6;
    expect_scalar(found, "train/loss", steps, json::json_pointer("/loss"), kExact);
    expect_scalar(found, "train/grad_norm", steps, json::json_pointer("/grad_norm"), kFloat32);
    expect_scalar(found, "train/learning_rate", steps, json::json_pointer("/lr"), kFloat32);
    expect_scalar(found, "train/epoch", steps, json::json_pointer("/epoch"), kSixDigits);
    expect_scalar(found, "throughput/tokens_per_s", steps, json::json_pointer("/tokens_per_s"), kSixDigits);
    expect_scalar(found, "throughput/samples_per_s", steps, json::json_pointer("/samples_per_s"), kSixDigits);
    expect_scalar(found, "throughput/step_s", steps, json::json_pointer("/step_s"), kSixDigits);
    expect_scalar(found, "memory/peak_bytes", steps, json::json_pointer("/peak_memory_bytes"), kFloat32);
    expect_scalar(found, "gates/layer_1", with_gates, json::json_pointer("/gates/0"), kExact);
    expect_scalar(found, "gates/layer_3", with_gates, json::json_pointer("/gates/1"), kExact);
    expect_scalar(found, "eval/loss", perplexities, json::json_pointer("/loss"), kFloat32);
    expect_scalar(found, "eval/perplexity", perplexities, json::json_pointer("/perplexity"), kFloat32);
    for (const char* language : {"Bengali", "English", "Thai"}) {
      expect_scalar(found, std::string("perplexity/") + language, perplexities,
                    json::json_pointer(std::string("/language_perplexity/") + language), kFloat32);
    }
    expect_scalar(found, "eval/msvamp_accuracy", accuracies, json::json_pointer("/accuracy"), kFloat32);
    expect_scalar(found, "msvamp_accuracy/Thai", accuracies, json::json_pointer("/language_accuracy/Thai"), kFloat32);
    EXPECT_EQ(found.at("scalars").size(), 17u);

    const json& histograms = found.at("histograms").at("gates");
    ASSERT_EQ(histograms.size(), with_gates.size());
    for (size_t i = 0; i < histograms.size(); ++i) {
      const float one = with_gates[i].at("gates")[0], other = with_gates[i].at("gates")[1];
      EXPECT_EQ(histograms[i], json({with_gates[i].at("step"), std::min(one, other), std::max(one, other), 2.0, 2.0}));
    }
    ASSERT_EQ(found.at("texts").size(), 1u);
    EXPECT_EQ(found.at("texts").at("config").back()[1], "```yaml\n" + read_file(run() / "config.yaml") + "```\n");

    // As TensorBoard's pages have it, which bring every value into one form.
    for (const auto& [tag, plugin] : found.at("plugins").items()) {
      EXPECT_EQ(plugin, tag == "config" ? "text" : tag == "gates" ? "histograms" : "scalars") << tag;
    }
    EXPECT_EQ(found.at("shown_steps").at("train/loss"), json({1, 2, 3, 4, 5, 6}));
  }
  std::vector<std::string> event_files(const std::string& stage) const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(run() / "tensorboard" / stage))
      names.push_back(entry.path().filename());
    return names;
  }

  WorkFolder folder;
  std::string config_path;
};

TEST_F(TensorBoard, ReadsEveryNumberAlsoAfterAResume) {
  Outcome outcome = train(1, config_path);
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  expect_as_written("1-translation", 1);
  expect_as_written("2-task", 2);

  // The end of the run is lost, from step 4 of the first stage on: steps 5 and 6 are done again, at another speed, and
  // so is stage 2.
  fs::remove(run() / "summary.json");
  fs::remove_all(run() / "2-task");
  fs::remove_all(run() / "1-translation/step-00000006");
  fs::remove(run() / "1-translation/trainables.safetensors");
  outcome = train(1, config_path);
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  ASSERT_THAT(outcome.output, testing::HasSubstr("resuming after step 4"));
  EXPECT_EQ(event_files("1-translation").size(), 2u);
  EXPECT_EQ(event_files("2-task").size(), 1u);
  expect_as_written("1-translation", 1);
  expect_as_written("2-task", 2);
}

TEST_F(TensorBoard, FilesAreWrittenByTheFirstRankAloneAndOnlyWhereAsked) {
  Outcome outcome = train(2, config_path + " --set stages.0.max_steps=1 --set stages.1.max_steps=1");
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_EQ(event_files("1-translation").size(), 1u);
  EXPECT_EQ(event_files("2-task").size(), 1u);
  fs::remove_all(run());
  outcome =
      train(1, config_path + " --set log.tensorboard=false --set stages.0.max_steps=1 --set stages.1.max_steps=1");
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_FALSE(fs::exists(run() / "tensorboard"));
}

}  // namespace
}  // namespace layalign::test
