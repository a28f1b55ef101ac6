#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/cli/program.h"

namespace layalign::test {

inline std::vector<nlohmann::json> read_jsonl(const std::filesystem::path& path) {
  std::vector<nlohmann::json> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

/// A run of a few steps on the miniature, to be evaluated.
class Evaluation : public testing::Test {
 protected:
  static nlohmann::json config() {
    const std::string models = LAYALIGN_SOURCE_DIR "/tests/miniature/models/";
    return {{"output", work->path("run").string()},
            {"model", {{"encoder", models + "encoder"}, {"llm", models + "llm"}}},
            {"data", {{"root", LAYALIGN_TEST_DATA}}},
            {"parallel", {{"device", "cpu"}}},
            {"stages",
             {{{"name", "task"},
               {"corpus", {{"format", "msvamp"}}},
               {"prompt", true},
               {"global_batch", 4},
               {"max_steps", 2},
               {"dev_size", 3},
               {"max_target_tokens", 600}}}},
            {"eval",
             {{"tasks", {"msvamp"}},
              {"languages", {"English", "Thai"}},
              {"limit", 2},
              {"max_new_tokens", 6},
              {"best", "accuracy"}}}};
  }

  static void SetUpTestSuite() {
    work = std::make_unique<WorkFolder>();
    config_path = work->write("c.json", config().dump()).string();
    const auto outcome = train(1, config_path);
    ASSERT_EQ(outcome.code, 0) << outcome.output;
    ASSERT_THAT(outcome.output, testing::HasSubstr("msvamp accuracy"));
  }
  static void TearDownTestSuite() { work.reset(); }

  static Outcome run(const std::string& arguments, int ranks = 1, const std::string& input = "</dev/null") {
    return evaluate(ranks, config_path + " " + arguments, input);
  }
  static std::string out(const std::string& name) { return work->path(name).string(); }

  static void expect_refused(const std::string& arguments, int code, const std::string& message) {
    const auto outcome = run(arguments);
    EXPECT_EQ(outcome.code, code) << arguments << "\n" << outcome.output;
    EXPECT_THAT(outcome.output, testing::HasSubstr(message)) << arguments;
  }

  inline static std::unique_ptr<WorkFolder> work;
  inline static std::string config_path;
};

}  // namespace layalign::test
