// Runs that are asked to stop: by a signal, by the clock. They save themselves, and the same command goes on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/cli/program.h"

namespace layalign::test {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

constexpr int kSaved = 75;
constexpr int kSteps = 240;

class Stopping : public testing::Test {
 protected:
  void SetUp() override {
    std::string corpus;
    for (int i = 0; i < 15; ++i) {
      const std::string n = std::to_string(10 + i);
      corpus += "{\"source\": [5, " + n + ", 9, 1], \"prompt\": [7, 8], \"target\": [" + n + ", 30, 2]}\n";
    }
    folder.write("corpus.jsonl", corpus);
    const std::string models = LAYALIGN_TEST_DATA "/golden/models/";
    config = folder
                 .write("run.yaml", "model: {encoder: " + models + "mt5, llm: " + models +
                                        "llama}\nparallel: {device: cpu, threads: 1}\nstages:\n  - {name: only, corpus: {format: token_ids, "
                                        "path: corpus.jsonl}, prompt: true, epochs: 80, global_batch: 4, lr: 1.0e-3, dev_size: 3, "
                                        "eval_every: 1}\ncheckpoint: {every: 100000, keep: 1000}\n")
                 .string();
  }

  std::string arguments(const std::string& name, const std::string& more = "") const {
    return config + " --set output=" + folder.path(name).string() + " " + more;
  }
  std::string metrics(const std::string& name) const { return read_file(folder.path(name) / "metrics.jsonl"); }
  int64_t steps(const std::string& name) const {
    const auto lines = metrics(name);
    return std::count(lines.begin(), lines.end(), '\n');
  }
  std::string trained(const std::string& name) const { return read_file(folder.path(name) / "1-only/trainables.safetensors"); }
  /// Starts a run and sends a signal to the process that was started (mpirun, for several ranks) once it has done some steps.
  Outcome signalled(int ranks, const std::string& signal, const std::string& more) const {
    const auto lines = (folder.path("stopped") / "metrics.jsonl").string();
    auto command = program_command("layalign-train", ranks, more);
    command.insert(command.find("&& ") + 3, "exec ");  // the process that gets the signal is the program itself
    return run_command("(" + command + ") & run=$!; until [ -s " + lines + " ] || ! kill -0 $run; do sleep 0.02; done; sleep 0.2; kill -" +
                       signal + " $run; wait $run");
  }

  WorkFolder folder;
  std::string config;
};

TEST_F(Stopping, ASignalledRunIsSavedAndGoesOnBitByBit) {
  for (const auto& [ranks, signal] : {std::pair(1, "TERM"), std::pair(1, "INT"), std::pair(2, "USR1")}) {
    const auto more = "--set parallel.tensor=" + std::to_string(ranks);
    ASSERT_EQ(train(ranks, arguments("whole", more)).code, 0);
    const auto stopped = signalled(ranks, signal, arguments("stopped", more));
    EXPECT_EQ(stopped.code, kSaved) << stopped.output;
    EXPECT_THAT(stopped.output, HasSubstr("stopped (SIG" + std::string(signal) + ") after step"));
    EXPECT_THAT(stopped.output, HasSubstr("the same command goes on"));
    EXPECT_LT(steps("stopped"), kSteps);
    EXPECT_FALSE(fs::exists(folder.path("stopped") / "1-only/trainables.safetensors"));

    const auto resumed = train(ranks, arguments("stopped", more));
    ASSERT_EQ(resumed.code, 0) << resumed.output;
    EXPECT_THAT(resumed.output, HasSubstr("resuming after step"));
    EXPECT_EQ(steps("stopped"), kSteps);
    EXPECT_EQ(trained("stopped"), trained("whole")) << ranks << " ranks, SIG" << signal;
    const auto best = [&](const char* name) { return read_file(folder.path(name) / "1-only/best.safetensors"); };
    EXPECT_EQ(best("stopped"), best("whole"));
    const auto evaluations = read_file(folder.path("stopped") / "evaluations.jsonl");
    EXPECT_EQ(std::count(evaluations.begin(), evaluations.end(), '\n'), kSteps) << "each once, also that of the step it stopped after";
    for (const char* name : {"whole", "stopped"}) fs::remove_all(folder.path(name));
  }
}

TEST_F(Stopping, ASignalWhileTheModelsAreLoadedEndsWithTheSameCode) {
  auto command = program_command("layalign-train", 1, arguments("early"));
  command.insert(command.find("&& ") + 3, "exec ");
  // The plan is printed before the models are loaded: from then on signals are caught.
  const auto log = folder.path("log").string();
  const auto outcome = run_command("(" + command + ") >" + log + " 2>&1 & run=$!; until grep -q 'stage 1/1' " + log +
                                   " || ! kill -0 $run; do :; done; kill -TERM $run; wait $run; code=$?; cat " + log + "; exit $code");
  EXPECT_EQ(outcome.code, kSaved) << outcome.output;
  EXPECT_EQ(train(1, arguments("early")).code, 0);
  EXPECT_EQ(steps("early"), kSteps);
}

TEST_F(Stopping, TheClockStopsARunWhichGoesOnUntilItIsDone) {
  replace_in_file(config, "epochs: 80", "epochs: 5000");
  const auto first = train(1, arguments("clock", "--set stop_after=1s"));
  EXPECT_EQ(first.code, kSaved) << first.output;
  EXPECT_THAT(first.output, HasSubstr("stop_after: 1s"));
  const auto before = steps("clock");
  EXPECT_GT(before, 0);
  const auto second = train(1, arguments("clock", "--set stop_after=2s"));  // may differ from start to start
  EXPECT_EQ(second.code, kSaved) << second.output;
  EXPECT_GT(steps("clock"), before);
}

TEST_F(Stopping, ACheckpointIsMadeEverySoManyMinutes) {
  replace_in_file(config, "epochs: 80", "epochs: 5000");
  const auto outcome = train(1, arguments("minutes", "--set stop_after=2s --set checkpoint.every_minutes=0.01"));
  EXPECT_EQ(outcome.code, kSaved) << outcome.output;
  int64_t checkpoints = 0;
  for (const auto& entry : fs::directory_iterator(folder.path("minutes") / "1-only")) {
    checkpoints += entry.path().filename().string().starts_with("step-");
  }
  EXPECT_GE(checkpoints, 3);  // at 0.6 s, at 1.2 s, and when it stopped
}

TEST_F(Stopping, TasksOfSlurmThatDoNotKnowOfEachOtherAreRefused) {
  auto command = program_command("layalign-train", 1, arguments("alone"));
  command.insert(command.find("&& ") + 3, "SLURM_NTASKS=4 SLURM_STEP_NUM_TASKS=4 ");
  const auto outcome = run_command(command);
  EXPECT_EQ(outcome.code, 70) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("srun --mpi=pmix"));
  EXPECT_FALSE(fs::exists(folder.path("alone")));
}

TEST_F(Stopping, TimesAreChecked) {
  const auto bad = train(1, arguments("bad", "--set stop_after=90"));
  EXPECT_EQ(bad.code, 2);
  EXPECT_THAT(bad.output, HasSubstr("a time such as 45s, 90m or 23h30m"));
  EXPECT_EQ(train(1, arguments("bad", "--set checkpoint.every_minutes=0")).code, 2);
}

}  // namespace
}  // namespace layalign::test
