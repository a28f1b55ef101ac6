#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "tests/cli/program.h"

namespace layalign::test {

inline const std::string kModels = LAYALIGN_TEST_DATA "/golden/models/";

/// A config with a corpus of twelve different texts of five tokens, and the programs that make its cache and train from it.
class CacheRun : public testing::Test {
 protected:
  void SetUp() override {
    std::string corpus;
    for (int i = 0; i < 24; ++i) {  // every text twice
      const std::string n = std::to_string(10 + i % 12);
      corpus += "{\"source\": [5, " + n + ", 9, " + n + ", 1], \"prompt\": [7, 8], \"target\": [" + n + ", 30, 2]}\n";
    }
    folder.write("corpus.jsonl", corpus);
    config = folder
                 .write("run.yaml", "model: {encoder: " + kModels + "mt5, llm: " + kModels +
                                        "llama}\nparallel: {device: cpu, threads: 1}\ncache: {path: " + cache().string() +
                                        "}\nstages:\n  - {name: only, corpus: {format: token_ids, path: corpus.jsonl}, prompt: true, "
                                        "epochs: 4, global_batch: 6, micro_batch: 3, lr: 1.0e-3}\noptimizer: {eps: 1.0e-4}\n")
                 .string();
  }

  std::filesystem::path cache() const { return folder.path("cache"); }
  static Outcome program(int ranks, const std::string& arguments) { return run_program("layalign-cache", ranks, arguments); }
  /// Of layalign-train.
  std::string training(const std::string& name, const std::string& more) const {
    return config + " --set output=" + folder.path(name).string() + " " + more;
  }
  Outcome trained(const std::string& name, const std::string& more, int ranks = 1) const { return train(ranks, training(name, more)); }

  std::vector<double> losses(const std::string& name) const {
    std::vector<double> found;
    std::ifstream file(folder.path(name) / "metrics.jsonl");
    for (std::string line; std::getline(file, line);) found.push_back(nlohmann::json::parse(line)["loss"].get<double>());
    return found;
  }
  void expect_like(const std::string& expected, const std::string& name) const {
    const auto online = losses(expected), got = losses(name);
    ASSERT_EQ(got.size(), online.size());
    ASSERT_FALSE(got.empty());
    // Batched otherwise, the encoder's float32 sums round otherwise; AdamW amplifies that from step to step.
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i] / online[i], 1, i == 0 ? 2e-6 : 1e-4) << name << ", step " << i;
  }
  void expect_like_online(const std::string& name) const { expect_like("online", name); }

  WorkFolder folder;
  std::string config;
};

}  // namespace layalign::test
