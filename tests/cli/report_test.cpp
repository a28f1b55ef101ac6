// checkpoints_tools/report.py over a run that the real programs made: what the page holds, and what is refused.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>

#include "tests/cli/evaluation_run.h"

namespace layalign::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// As Python prints f"{value:.4g}".
std::string digits(double value, const char* format = "%.4g") {
  char buffer[40];
  std::snprintf(buffer, sizeof(buffer), format, value);
  return buffer;
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++found;
  return found;
}

/// The steps of a stage in metrics.jsonl.
std::vector<json> steps_of(const std::vector<json>& metrics, int64_t stage) {
  std::vector<json> steps;
  for (const json& line : metrics) {
    if (line.at("stage_number") == stage) steps.push_back(line);
  }
  return steps;
}

/// The results that layalign-eval wrote for a mode.
json results_of(const fs::path& run, const std::string& mode) {
  for (const auto& entry : fs::directory_iterator(run / "evaluation" / mode)) {
    if (entry.path().filename().string().starts_with("results_")) return json::parse(read_file(entry.path()));
  }
  return {};
}

/// A run of two stages and its evaluation, made once and never changed; tests change copies.
class Report : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    work_ = new WorkFolder;
    const std::string models = LAYALIGN_SOURCE_DIR "/tests/miniature/models/";
    json stage = {{"name", "translation"},   {"corpus", {{"format", "msvamp"}, {"task", "translation"}}},
                  {"global_batch", 4},       {"max_steps", 3},
                  {"dev_size", 6},           {"eval_every", 1},
                  {"max_target_tokens", 600}};
    json second = stage;
    second.update({{"name", "task"}, {"corpus", {{"format", "msvamp"}}}, {"prompt", true}});
    const json config = {{"output", run().string()},
                         {"model", {{"encoder", models + "encoder"}, {"llm", models + "llm"}}},
                         {"data", {{"root", LAYALIGN_TEST_DATA}}},
                         {"parallel", {{"device", "cpu"}}},
                         {"stages", {stage, second}},
                         {"checkpoint", {{"every", 1}, {"keep", 5}}}};
    const std::string path = work_->write("c.json", config.dump()).string();
    Outcome outcome = train(1, path);
    ASSERT_EQ(outcome.code, 0) << outcome.output;
    outcome = evaluate(1, path +
                              " --task msvamp --compare llm,mapping,layalign --languages English,Thai --limit 2"
                              " --max-new-tokens 6");
    ASSERT_EQ(outcome.code, 0) << outcome.output;
    for (const char* weights : {"", " --untrained"}) {
      outcome = evaluate(1, path + " --task representations --limit 3" + weights);
      ASSERT_EQ(outcome.code, 0) << outcome.output;
    }
  }
  static void TearDownTestSuite() {
    delete work_;
    work_ = nullptr;
  }

  static fs::path run() { return work_->path("run"); }
  static Outcome report(const std::string& arguments) {
    return run_command("cd " LAYALIGN_SOURCE_DIR " && PYTHONDONTWRITEBYTECODE=1 " LAYALIGN_TEST_PYTHON
                       " checkpoints_tools/report.py " +
                       arguments);
  }
  /// A copy of the run, to be changed.
  fs::path copied(const std::string& name = "copy") const {
    fs::copy(run(), folder.path(name), fs::copy_options::recursive);
    return folder.path(name);
  }
  /// The page about some runs.
  std::string page(const std::string& arguments) const {
    const fs::path path = folder.path("page.html");
    const auto outcome = report(arguments + " --output " + path.string());
    EXPECT_EQ(outcome.code, 0) << outcome.output;
    EXPECT_EQ(outcome.output, "wrote " + path.string() + "\n");
    return outcome.code == 0 ? read_file(path) : "";
  }
  void expect_refused(const std::string& arguments, int code, const std::string& message) const {
    const auto outcome = report(arguments + " --output " + folder.path("page.html").string());
    EXPECT_EQ(outcome.code, code) << outcome.output;
    EXPECT_THAT(outcome.output, AllOf(HasSubstr(message), Not(HasSubstr("Traceback"))));
    EXPECT_FALSE(fs::exists(folder.path("page.html")));
  }

  static WorkFolder* work_;
  WorkFolder folder;
};
WorkFolder* Report::work_ = nullptr;

TEST_F(Report, ShowsTheNumbersThatTheRunWrote) {
  const std::string text = page(run().string());
  const auto metrics = read_jsonl(run() / "metrics.jsonl");
  for (const int64_t stage : {1, 2}) {
    const auto steps = steps_of(metrics, stage);
    ASSERT_EQ(steps.size(), 3u);
    EXPECT_EQ(steps.front().at("gates").size(), 5u);  // a layer of the LLM each, at the first step and the last
    EXPECT_EQ(steps.back().at("gates").size(), 5u);
    EXPECT_NE(steps.back().at("gates"), steps.front().at("gates"));
    EXPECT_THAT(text, HasSubstr(digits(steps.front().at("loss")) + " → " + digits(steps.back().at("loss"))));
  }
  EXPECT_TRUE(metrics.front().contains("counters"));
  EXPECT_THAT(text, HasSubstr("step time by phase, percent"));
  std::set<std::string> languages;
  for (const json& line : read_jsonl(run() / "evaluations.jsonl")) {
    if (line.at("step") == 2) continue;  // neither the first nor the last of its stage
    EXPECT_THAT(text, HasSubstr(digits(line.at("perplexity"))));
    for (const auto& [language, perplexity] : line.at("language_perplexity").items()) {
      EXPECT_THAT(text, HasSubstr(digits(perplexity))) << language;
      languages.insert(language);
    }
  }
  EXPECT_EQ(languages, (std::set<std::string>{"Bengali", "English", "Thai"}));
  for (const auto& language : languages) {
    EXPECT_THAT(text, HasSubstr("<th scope=\"row\">" + language + "</th>"));
    EXPECT_THAT(text, HasSubstr(">" + language + "</text>")) << "in the figure";
  }
  for (const char* mode : {"llm", "mapping", "layalign"}) {
    const json results = results_of(run(), mode);
    EXPECT_THAT(text,
                HasSubstr(digits(100 * results["groups"]["msvamp"]["acc,none"].get<double>(), "%.1f") + " <small>"));
    EXPECT_THAT(text, HasSubstr("msvamp accuracy, " + std::string(mode)));
  }
  EXPECT_THAT(text, HasSubstr("Weights of 2-task/trainables.safetensors"));
  const auto numbers = [](const std::string& name) {
    return json::parse(read_file(run() / "evaluation/layalign" / (name + ".json"))).at("layers");
  };
  const json before = numbers("representations_untrained"), after = numbers("representations");
  for (const char* language : {"Bengali", "Thai"}) {
    const auto percent = [&](const json& layers, const std::string& layer) {
      return digits(100 * layers.at(layer).at(language).at("retrieval").get<double>(), "%.0f");
    };
    std::string row = "<tr><th scope=\"row\">" + std::string(language) + "</th><td>" + percent(after, "encoder.4") + "</td>";
    for (const char* layer : {"mapped", "llm.5"}) {
      row += "<td>" + percent(before, layer) + " → " + percent(after, layer) + "</td>";
    }
    EXPECT_THAT(text, HasSubstr(row));
  }
  EXPECT_THAT(text, AllOf(HasSubstr("before training: "), HasSubstr("Layer 3 of the LLM, in the plane")));
  EXPECT_THAT(text, HasSubstr("(4 of them)"));  // the first step of each stage and its last
  EXPECT_THAT(text, HasSubstr(read_file(run() / "config.yaml").substr(0, 200)));
}

TEST_F(Report, NeedsNothingBesideItself) {
  const std::string text = page(run().string());
  // Loss and perplexity of two stages, learning rate, accuracy, two of gates, fc1 for keys and values, four layers in the plane,
  // cosine, retrieval, speed, memory.
  EXPECT_EQ(count(text, "<svg"), 18u);
  EXPECT_EQ(count(text, "</svg>"), 18u);
  EXPECT_EQ(count(text, "<figcaption>"), 18u);
  EXPECT_EQ(count(text, "role=\"img\" aria-label="), 18u);
  for (const char* foreign :
       {"http:", "https:", "<script", "<link", "<img", " src=", "@import", "url(\"", "<metadata"}) {
    EXPECT_THAT(text, Not(HasSubstr(foreign)));
  }
  EXPECT_THAT(text, AllOf(HasSubstr("prefers-color-scheme: dark"), HasSubstr("name=\"viewport\"")));
}

TEST_F(Report, ComparesRuns) {
  const fs::path other = copied("other");
  replace_in_file(other / "config.yaml", "seed: 0", "seed: 7");
  const std::string text = page(run().string() + " " + other.string() + " --title 'A & <B>'");
  EXPECT_THAT(text, HasSubstr("<h1>A &amp; &lt;B&gt;</h1>"));
  EXPECT_THAT(text, HasSubstr("Keys that differ"));
  EXPECT_THAT(
      text,
      HasSubstr(
          "<th scope=\"row\">seed</th><td><span class=\"text\">0</span></td><td><span class=\"text\">7</span></td>"));
  EXPECT_THAT(text, AllOf(HasSubstr("run: fc1 for the keys"), HasSubstr("other: fc1 for the values"),
                          HasSubstr("other: msvamp accuracy")));
  EXPECT_EQ(count(text, "<svg"), 27u);  // accuracy, fc1 and representations are drawn for each run
  EXPECT_EQ(report(other.string()).code, 0);
  EXPECT_TRUE(fs::exists(other / "report.html"));
}

TEST_F(Report, SaysWhatIsNotThere) {
  const fs::path bare = copied();
  for (const char* part :
       {"metrics.jsonl", "evaluations.jsonl", "summary.json", "evaluation", "1-translation", "2-task"}) {
    fs::remove_all(bare / part);
  }
  const std::string text = page(bare.string());
  for (const char* missing :
       {"not finished", "metrics.jsonl is not there", "No step has been done", "No held-out evaluation has been made",
        "No benchmark of layalign-eval", "No representations lie", "No checkpoint is there yet", "no checkpoint is there yet"}) {
    EXPECT_THAT(text, HasSubstr(missing));
  }
  EXPECT_EQ(count(text, "<svg"), 0u);

  const fs::path torn = copied("torn");
  std::ofstream(torn / "metrics.jsonl", std::ios::app) << "{\"stage\": \"ta";
  EXPECT_THAT(page(torn.string()), HasSubstr("metrics.jsonl ends in a line that is not complete"));
}

TEST_F(Report, NamesWhatIsBroken) {
  expect_refused(folder.path("nowhere").string(), 65, "nowhere: is not a folder that exists");
  expect_refused(folder.path("").string(), 65, "is no run of layalign-train: it has no config.yaml");
  expect_refused("", 2, "RUN");
  const fs::path broken = copied();
  const std::string metrics = read_file(broken / "metrics.jsonl");
  replace_in_file(broken / "metrics.jsonl", "\"step\": 2,", "\"step\" 2,");
  expect_refused(broken.string(), 65, (broken / "metrics.jsonl").string() + ":2: not a line of JSON: ");
  replace_in_file(broken / "metrics.jsonl", "\"step\" 2,", "\"step\": \"2\",");
  expect_refused(broken.string(), 65, "metrics.jsonl:2: not a line of metrics: 'step' is '2', expected a number");
  replace_in_file(broken / "metrics.jsonl", "\"stage_number\": 1", "\"stage_number\": 3");
  expect_refused(broken.string(), 65, "metrics.jsonl:1: not a line of metrics: 'stage_number' is 3");
  std::ofstream(broken / "metrics.jsonl", std::ios::binary) << metrics;
  const fs::path weights = broken / "2-task/trainables.safetensors";
  fs::resize_file(weights, fs::file_size(weights) - 1);
  expect_refused(broken.string(), 65, weights.string() + ": damaged: ");

  fs::copy_file(run() / "2-task/trainables.safetensors", weights, fs::copy_options::overwrite_existing);
  const fs::path states = broken / "evaluation/layalign/representations.h5";
  fs::resize_file(states, fs::file_size(states) - 1);
  expect_refused(broken.string(), 65, states.string() + ": not a file of representations");
  replace_in_file(states.parent_path() / "representations.json", "\"weights\"", "\"waights\"");
  expect_refused(broken.string(), 65, "representations.json: not numbers of representations: KeyError 'weights'");

  const auto unwritten = report(run().string() + " --output " + folder.path("none/page.html").string());
  EXPECT_EQ(unwritten.code, 74) << unwritten.output;
  EXPECT_THAT(unwritten.output, HasSubstr("No such file or directory"));
}

}  // namespace
}  // namespace layalign::test
