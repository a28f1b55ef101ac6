// layalign-checkpoint killed, or refused by the disk, at its changes of files: what it writes is whole or not there,
// and the same command does it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "tests/cli/program.h"

namespace layalign::test {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

const std::string kGolden = LAYALIGN_TEST_DATA "/golden/";
constexpr int kKilled = 137;  // the shell's name for the end by SIGKILL

class CheckpointCrash : public testing::Test {
 protected:
  void SetUp() override {
    const Outcome outcome = command("", "import " + kGolden + "mt5-llama-stage2-some-layers.safetensors", "weights");
    ASSERT_EQ(outcome.code, 0) << outcome.output;
    folder.write("run.yaml", "output: unused\nmodel: {encoder: " + kGolden + "models/mt5, llm: " + kGolden +
                                 "models/llama, encoder_layers: [0, 2], language_layers: [1, 2]}\nstages:\n  - {name: "
                                 "one, corpus: {format: token_ids, "
                                 "path: x.jsonl}, global_batch: 2, lr: 1.0e-3}\n");
  }
  std::string at(const std::string& name) const { return folder.path(name).string(); }

  /// `fault`: KIND:N of LAYALIGN_FILE_FAULT; empty: none.
  Outcome command(const std::string& fault, const std::string& arguments, const std::string& output) const {
    const std::string variable = fault.empty() ? "" : "export LAYALIGN_FILE_FAULT=" + fault + "; ";
    return run_command(variable + program_command("layalign-checkpoint", 1, arguments + " -o " + at(output)));
  }

  /// All that lies at a path: a file's bytes, or names and bytes of a folder's files; empty where there is nothing.
  std::string content(const std::string& name) const {
    const fs::path path = folder.path(name);
    if (!fs::is_directory(path)) return fs::exists(path) ? read_file(path) : "";
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::directory_iterator(path)) files[entry.path().filename()] = read_file(entry.path());
    std::string all;
    for (const auto& [file, bytes] : files) all += file + "\n" + bytes;
    return all;
  }

  /// The fault at every `stride`-th change of a file, at every one with LAYALIGN_FAULT_FACTOR; `before`: the content of
  /// the output.
  void at_every_change(const std::string& kind, int64_t stride, const std::string& arguments,
                       const std::string& before) {
    ASSERT_EQ(command("", arguments, "whole").code, 0);
    const std::string whole = content("whole");
    if (std::getenv("LAYALIGN_FAULT_FACTOR") != nullptr) stride = 1;
    const bool dies = kind == "kill" || kind == "half";
    int64_t number = 1;
    for (;; number += stride) {
      SCOPED_TRACE(kind + ":" + std::to_string(number) + " " + arguments);
      fs::remove_all(at("out"));
      if (!before.empty()) folder.write("out", before);
      const Outcome outcome = command(kind + ":" + std::to_string(number), arguments, "out");
      if (outcome.code == 0) break;
      ASSERT_EQ(outcome.code, dies ? kKilled : 74) << outcome.output;
      if (!dies) {
        EXPECT_THAT(outcome.output, HasSubstr("No space left on device"));
        EXPECT_THAT(outcome.output, HasSubstr(at("out")));
        EXPECT_FALSE(fs::exists(at("out.tmp")));
      }
      if (content("out") == whole) continue;
      ASSERT_EQ(content("out"), before);
      const Outcome again = command("", arguments, "out");
      ASSERT_EQ(again.code, 0) << again.output;
      EXPECT_EQ(content("out"), whole);
      EXPECT_FALSE(fs::exists(at("out.tmp")));
    }
    EXPECT_GT(number, 10);
    EXPECT_EQ(content("out"), whole);
    fs::remove_all(at("out"));
    fs::remove_all(at("whole"));
  }

  WorkFolder folder;
};

TEST_F(CheckpointCrash, MergeLeavesAllOrNothing) {
  at_every_change("kill", 3, "merge " + at("weights"), "");
  at_every_change("half", 5, "merge " + at("weights"), "");
  at_every_change("ENOSPC", 3, "merge " + at("weights"), "");
}

TEST_F(CheckpointCrash, MergeLeavesWhatItReplacesOrTheNew) {
  at_every_change("kill", 4, "merge --force " + at("weights"), "the old");
  at_every_change("ENOSPC", 4, "merge --force " + at("weights"), "the old");
}

TEST_F(CheckpointCrash, ExportLeavesAllOrNothing) {
  at_every_change("kill", 5, "export --format layalign-reference " + at("weights"), "");
  const std::string adapter = "export --format adapter --config " + at("run.yaml") + " " + at("weights");
  at_every_change("kill", 5, adapter, "");
  at_every_change("ENOSPC", 5, adapter, "");
}

TEST_F(CheckpointCrash, AFaultThatDoesNotExistIsRefused) {
  const Outcome outcome = command("explode:3", "merge " + at("weights"), "out");
  EXPECT_EQ(outcome.code, 2) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("expected kill:N"));
  EXPECT_FALSE(fs::exists(at("out")));
}

}  // namespace
}  // namespace layalign::test
