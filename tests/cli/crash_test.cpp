// layalign-train killed, or refused by the disk, at its changes of files: the same command goes on, and its weights are those of
// a run that nothing has happened to.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/cli/program.h"

namespace layalign::test {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

const std::string kModels = LAYALIGN_TEST_DATA "/golden/models/";
constexpr int kKilled = 137;  // the shell's name for the end by SIGKILL

class Crash : public testing::Test {
 protected:
  void SetUp() override {
    std::string corpus;
    for (int i = 0; i < 12; ++i) {
      const std::string n = std::to_string(10 + i);
      corpus += "{\"source\": [5, " + n + ", 9, 1], \"prompt\": [7, 8], \"target\": [" + n + ", 30, 2]}\n";
    }
    folder.write("corpus.jsonl", corpus);
    const std::string stage = ", corpus: {format: token_ids, path: corpus.jsonl}, prompt: true, epochs: 2, global_batch: 6, "
                              "micro_batch: 3, lr: 1.0e-3, dev_size: 2, eval_every: 2}\n";
    config = folder
                 .write("run.yaml", "model: {encoder: " + kModels + "mt5, llm: " + kModels +
                                        "llama}\nparallel: {device: cpu, threads: 1}\ncheckpoint: {every: 1, keep: 1}\nstages:\n  - {name: one" +
                                        stage + "  - {name: two" + stage)
                 .string();
    EXPECT_EQ(run("whole", "").code, 0);
  }
  std::string output(const std::string& name) const { return folder.path(name).string(); }
  /// `fault`: KIND:N of LAYALIGN_FILE_FAULT; empty: none.
  Outcome run(const std::string& name, const std::string& fault) {
    const std::string variable = fault.empty() ? "" : "export LAYALIGN_FILE_FAULT=" + fault + "; ";
    const std::string more = " --set output=" + output(name) + " --set parallel.tensor=" + std::to_string(ranks);
    return run_command(variable + program_command("layalign-train", ranks, config + more));
  }
  std::string weights(const std::string& name) const { return read_file(output(name) + "/2-two/trainables.safetensors"); }

  /// The command again, to the end; then the run is like the whole one, and nothing unfinished is left.
  void expect_goes_on(const std::string& name) {
    const auto again = run(name, "");
    ASSERT_EQ(again.code, 0) << again.output;
    EXPECT_EQ(weights(name), weights("whole"));
    for (const auto& entry : fs::recursive_directory_iterator(output(name))) {
      EXPECT_NE(entry.path().extension(), ".tmp") << entry.path();
    }
    fs::remove_all(output(name));
  }

  /// Of the first change of a file on, each `stride`-th: starting a program takes its time. All of them with LAYALIGN_FAULT_FACTOR.
  /// Returns how many there are.
  template <typename Check>
  int64_t at_every_change(const std::string& kind, int64_t stride, Check check) {
    if (std::getenv("LAYALIGN_FAULT_FACTOR") != nullptr) stride = 1;
    for (int64_t number = 1;; number += stride) {
      SCOPED_TRACE(kind + ":" + std::to_string(number));
      const auto outcome = run("run", kind + ":" + std::to_string(number));
      if (outcome.code == 0) {
        fs::remove_all(output("run"));
        return number;
      }
      check(outcome);
      expect_goes_on("run");
      if (HasFatalFailure()) return number;
    }
  }

  WorkFolder folder;
  std::string config;
  int ranks = 1;
};

TEST_F(Crash, KilledAtAnyChangeOfAFileItGoesOnBitByBit) {
  const auto count = at_every_change("kill", 13, [](const Outcome& outcome) { EXPECT_EQ(outcome.code, kKilled) << outcome.output; });
  EXPECT_GT(count, 60);
}

TEST_F(Crash, KilledHalfwayThroughAnyWriteItGoesOnBitByBit) {
  at_every_change("half", 29, [](const Outcome& outcome) { EXPECT_EQ(outcome.code, kKilled) << outcome.output; });
}

TEST_F(Crash, AFullOrBrokenDiskIsReportedAtAnyChangeOfAFile) {
  for (const auto& [kind, reason] : {std::pair<std::string, std::string>{"ENOSPC", "No space left on device"}, {"EIO", "Input/output error"}}) {
    at_every_change(kind, 37, [&](const Outcome& outcome) {
      EXPECT_EQ(outcome.code, 74) << outcome.output;
      EXPECT_THAT(outcome.output, HasSubstr(reason));
      EXPECT_THAT(outcome.output, HasSubstr(output("run")));  // the path
    });
  }
}

/// Two ranks that write a checkpoint together: both count their own changes, and the one that reaches the number first falls.
TEST_F(Crash, KilledOrRefusedWithinACheckpointOfTwoRanksItGoesOnBitByBit) {
  ranks = 2;
  fs::remove_all(output("whole"));
  ASSERT_EQ(run("whole", "").code, 0);
  at_every_change("kill", 61, [](const Outcome& outcome) { EXPECT_EQ(outcome.code, kKilled) << outcome.output; });
  at_every_change("ENOSPC", 97, [&](const Outcome& outcome) {
    EXPECT_EQ(outcome.code, 74) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr("No space left on device"));
  });
}

TEST_F(Crash, AFaultThatDoesNotExistIsRefused) {
  for (const char* fault : {"kill", "kill:", "kill:0", "kill:1x", "explode:3"}) {
    const auto outcome = run("run", fault);
    EXPECT_EQ(outcome.code, 2) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr("expected kill:N"));
  }
}

}  // namespace
}  // namespace layalign::test
