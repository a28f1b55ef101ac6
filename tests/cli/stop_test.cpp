// Runs that are asked to stop: by a signal, by the clock. They save themselves, and the same command goes on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <regex>

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
  /// Starts a program, waits until the shell's `condition` holds, and sends what `strike` says: a shell's command, in which $run is
  /// the process that was started: the program, or mpirun for several ranks. The outcome is that of the program.
  static Outcome struck(const std::string& program, int ranks, const std::string& arguments, const std::string& condition,
                        const std::string& strike) {
    auto command = program_command(program, ranks, arguments);
    command.insert(command.find("&& ") + 3, "exec ");
    return run_command("(" + command + ") & run=$!; until " + condition + " || ! kill -0 $run; do sleep 0.02; done; " + strike +
                       "; wait $run");
  }
  /// A training run that gets a signal after its first steps.
  Outcome signalled(int ranks, const std::string& signal, const std::string& more) const {
    return struck("layalign-train", ranks, more, "[ -s " + (folder.path("stopped") / "metrics.jsonl").string() + " ]",
                  "kill -" + signal + " $run");
  }
  void expect_goes_on_as(const std::string& whole, int ranks, const std::string& more) const {
    EXPECT_LT(steps("stopped"), kSteps);
    const auto resumed = train(ranks, arguments("stopped", more));
    ASSERT_EQ(resumed.code, 0) << resumed.output;
    EXPECT_EQ(steps("stopped"), kSteps);
    EXPECT_EQ(trained("stopped"), trained(whole));
    const auto evaluations = read_file(folder.path("stopped") / "evaluations.jsonl");
    EXPECT_EQ(std::count(evaluations.begin(), evaluations.end(), '\n'), kSteps) << "each once, also that of the step it stopped after";
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
    EXPECT_FALSE(fs::exists(folder.path("stopped") / "1-only/trainables.safetensors"));
    expect_goes_on_as("whole", ranks, more);
    const auto best = [&](const char* name) { return read_file(folder.path(name) / "1-only/best.safetensors"); };
    EXPECT_EQ(best("stopped"), best("whole"));
    for (const char* name : {"whole", "stopped"}) fs::remove_all(folder.path(name));
  }
}

TEST_F(Stopping, MpirunThatIsEndedLosesNoStepThatWasSaved) {
  const std::string more = "--set parallel.tensor=2 --set checkpoint.every=10";
  ASSERT_EQ(train(2, arguments("whole", more)).code, 0);
  // mpirun passes it on and ends the ranks soon after, with a status of its own, whether they have saved themselves or not.
  EXPECT_NE(signalled(2, "TERM", arguments("stopped", more)).code, 0);
  expect_goes_on_as("whole", 2, more);
}

TEST_F(Stopping, OneRankThatIsSignalledStopsAll) {
  ASSERT_EQ(train(2, arguments("whole")).code, 0);  // two data-parallel ranks
  const auto outcome = struck("layalign-train", 2, arguments("stopped"),
                              "[ -s " + (folder.path("stopped") / "metrics.jsonl").string() + " ]",
                              "kill -TERM $(pgrep -P $run -x layalign-train | tail -n 1)");
  EXPECT_EQ(outcome.code, kSaved) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("stopped (SIGTERM) after step"));
  expect_goes_on_as("whole", 2, "");
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
  const auto first = train(1, arguments("clock", "--set stop_after=3s"));
  EXPECT_EQ(first.code, kSaved) << first.output;
  EXPECT_THAT(first.output, HasSubstr("stop_after: 3s"));
  const auto before = steps("clock");
  EXPECT_GT(before, 0);
  const auto second = train(1, arguments("clock", "--set stop_after=4s"));  // may differ from start to start
  EXPECT_EQ(second.code, kSaved) << second.output;
  EXPECT_GT(steps("clock"), before);
}

TEST_F(Stopping, ACheckpointIsMadeEverySoManyMinutes) {
  replace_in_file(config, "epochs: 80", "epochs: 5000");
  const auto outcome = train(1, arguments("minutes", "--set stop_after=4s --set checkpoint.every_minutes=0.01"));
  EXPECT_EQ(outcome.code, kSaved) << outcome.output;
  int64_t checkpoints = 0;
  for (const auto& entry : fs::directory_iterator(folder.path("minutes") / "1-only")) {
    checkpoints += entry.path().filename().string().starts_with("step-");
  }
  EXPECT_GE(checkpoints, 3);  // every 0.6 s, and when it stopped
}

/// On the miniature, whose evaluations take some seconds.
class StoppingMiniature : public Stopping {
 protected:
  void SetUp() override {
    const std::string models = LAYALIGN_SOURCE_DIR "/tests/miniature/models/";
    const std::string texts = LAYALIGN_SOURCE_DIR "/tests/miniature/data", data = folder.path("data").string();
    fs::create_directory(data);
    fs::create_directory_symlink(texts, data + "/evaluation");
    fs::create_directory_symlink(texts + "/msvamp", data + "/msvamp");
    config = folder
                 .write("run.yaml", "model: {encoder: " + models + "encoder, llm: " + models + "llm}\ndata: {root: " + data +
                                        "}\nparallel: {device: cpu, threads: 1}\ncache: {path: " + folder.path("cache").string() +
                                        ", shard_bytes: 4MiB}\nstages:\n  - {name: only, corpus: {format: msvamp, languages: [English, Thai]}, prompt: "
                                        "true, max_steps: 4, global_batch: 4, dev_size: 3, max_target_tokens: 600}\neval: {tasks: [msvamp], "
                                        "languages: [English, Thai], limit: 24, max_new_tokens: 60, batch: 1, best: accuracy, every: 2}\n")
                 .string();
  }
};

TEST_F(StoppingMiniature, ARunThatIsStoppedInABenchmarkScoresItAgain) {
  ASSERT_EQ(train(1, arguments("whole")).code, 0);
  const auto outcome = struck("layalign-train", 1, arguments("stopped"),
                              "[ -d " + (folder.path("stopped") / "1-only/step-00000002").string() + " ]", "kill -TERM $run");
  EXPECT_EQ(outcome.code, kSaved) << outcome.output;
  EXPECT_EQ(steps("stopped"), 2);
  EXPECT_FALSE(fs::exists(folder.path("stopped") / "1-only/best.safetensors"));
  const auto resumed = train(1, arguments("stopped"));
  ASSERT_EQ(resumed.code, 0) << resumed.output;
  for (const char* file : {"1-only/trainables.safetensors", "1-only/best.safetensors"}) {
    EXPECT_EQ(read_file(folder.path("stopped") / file), read_file(folder.path("whole") / file)) << file;
  }
  const auto lines = [&](const char* name) {
    const auto text = read_file(folder.path(name) / "evaluations.jsonl");
    return std::count(text.begin(), text.end(), '\n');
  };
  EXPECT_EQ(lines("stopped"), lines("whole"));
}

/// The lines of evaluations.jsonl without the times.
std::string scores(const fs::path& run) {
  return std::regex_replace(read_file(run / "evaluations.jsonl"), std::regex("\"evaluation_s\":[^,}]*"), "");
}

TEST_F(StoppingMiniature, EvaluationsThatAreLongerThanAStartEnd) {
  // 25 rounds of answers after each second step, and then three of the held-out samples: a start does one of these at least.
  const std::string shorter = "--set eval.limit=100 --set stages.0.dev_size=12 --set stages.0.micro_batch=1 ";
  ASSERT_EQ(train(1, arguments("whole", shorter)).code, 0);
  Outcome outcome;
  std::string told;
  int starts = 0;
  do {
    outcome = train(1, arguments("slices", shorter + "--set stop_after=1s"));
    told += outcome.output;
    ASSERT_TRUE(outcome.code == kSaved || outcome.code == 0) << outcome.output;
  } while (outcome.code == kSaved && ++starts < 40);
  EXPECT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_THAT(told, HasSubstr(" of 200 questions were answered before"));
  for (const char* file : {"1-only/trainables.safetensors", "1-only/best.safetensors"}) {
    EXPECT_EQ(read_file(folder.path("slices") / file), read_file(folder.path("whole") / file)) << file;
  }
  EXPECT_EQ(scores(folder.path("slices")), scores(folder.path("whole"))) << "bit for bit";
  EXPECT_FALSE(fs::exists(folder.path("slices") / "1-only/held-out.json"));
}

TEST_F(StoppingMiniature, ASignalInAPerplexityIsHeardBeforeItsEnd) {
  const std::string longer = "--set eval.tasks=[] --set eval.best=perplexity --set stages.0.max_steps=1 --set stages.0.dev_size=120 "
                             "--set stages.0.micro_batch=1 ";
  for (const int ranks : {1, 2}) {  // data parallel
    ASSERT_EQ(train(ranks, arguments("whole", longer)).code, 0);
    // After the only step comes the perplexity.
    const auto stopped = struck("layalign-train", ranks, arguments("stopped", longer),
                                "[ -s " + (folder.path("stopped") / "metrics.jsonl").string() + " ]", "kill -USR1 $run");
    EXPECT_EQ(stopped.code, kSaved) << stopped.output;
    EXPECT_TRUE(fs::exists(folder.path("stopped") / "1-only/held-out.json")) << stopped.output;
    const auto resumed = train(ranks, arguments("stopped", longer));
    ASSERT_EQ(resumed.code, 0) << resumed.output;
    EXPECT_EQ(scores(folder.path("stopped")), scores(folder.path("whole"))) << "bit for bit";
    for (const char* name : {"whole", "stopped"}) fs::remove_all(folder.path(name));
  }
}

TEST_F(StoppingMiniature, AReaderThatLeavesDoesNotEndTheRun) {
  const std::string plain = "--set eval.tasks=[] --set eval.best=perplexity";
  const auto outcome = run_command("bash -c '" + program_command("layalign-train", 1, arguments("piped", plain)) +
                                   " | head -n 1; exit ${PIPESTATUS[0]}'");
  EXPECT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_TRUE(fs::exists(folder.path("piped") / "summary.json"));
  const auto built = run_command("bash -c '" + program_command("layalign-cache", 1, "build " + config) + " | true; exit ${PIPESTATUS[0]}'");
  EXPECT_EQ(built.code, 0) << built.output;
}

TEST_F(StoppingMiniature, AnEvaluationKeepsItsAnswersAndASecondInterruptEndsItAtOnce) {
  ASSERT_EQ(train(1, arguments("run", "--set eval.tasks=[] --set eval.best=perplexity")).code, 0);
  const auto arguments_of = [&](const char* name) {
    return arguments("run", "--task msvamp --languages English,Thai --limit 40 --batch 1 --output " + folder.path(name).string());
  };
  const auto answers = [&](const char* name) { return (folder.path(name) / "outputs.jsonl").string(); };
  const auto questions = [&](const char* name) {
    const auto text = read_file(answers(name));
    return std::count(text.begin(), text.end(), '\n') - 1;  // the first line says what made them
  };
  for (const int ranks : {1, 2}) {
    const auto stopped = struck("layalign-eval", ranks, arguments_of("stopped"), "grep -qs generation_s " + answers("stopped"),
                                "kill -USR1 $run");
    EXPECT_EQ(stopped.code, kSaved) << stopped.output;
    EXPECT_THAT(stopped.output, HasSubstr("stopped (SIGUSR1); the answers so far are kept"));
    const auto before = questions("stopped");
    EXPECT_LT(before, 80);
    EXPECT_EQ(before % (8 * ranks), 0) << "whole rounds";
    const auto resumed = evaluate(ranks, arguments_of("stopped"));
    EXPECT_EQ(resumed.code, 0) << resumed.output;
    EXPECT_THAT(resumed.output, HasSubstr(std::to_string(before) + " of 80 questions were answered before"));
    EXPECT_EQ(questions("stopped"), 80);
    fs::remove_all(folder.path("stopped"));
  }
  const auto ended = struck("layalign-eval", 1, arguments_of("ended") + " --limit 500 --batch 64", "grep -qs generation_s " + answers("ended"),
                            "kill -INT $run; sleep 0.1; kill -INT $run");
  EXPECT_EQ(ended.code, 130) << ended.output;
}

TEST_F(StoppingMiniature, ACacheThatIsBuiltKeepsItsShards) {
  const auto cache = folder.path("cache").string();
  const auto build = "build " + config;
  const auto struck_with = [&](const char* signal, int shards) {
    return struck("layalign-cache", 1, build, "[ $(ls " + cache + "/shard-*.json 2>/dev/null | wc -l) -ge " + std::to_string(shards) + " ]",
                  std::string("kill -") + signal + " $run");
  };
  const auto stopped = struck_with("TERM", 1);
  EXPECT_EQ(stopped.code, kSaved) << stopped.output;
  EXPECT_THAT(stopped.output, HasSubstr("the same command goes on"));
  EXPECT_EQ(struck_with("KILL", 2).code, 137);
  const auto resumed = run_program("layalign-cache", 1, build);
  EXPECT_EQ(resumed.code, 0) << resumed.output;
  EXPECT_EQ(resumed.output.find("\n0 of them are cached"), std::string::npos) << resumed.output;
  EXPECT_EQ(run_program("layalign-cache", 1, "verify " + cache).code, 0);
}

TEST_F(StoppingMiniature, OneRankThatIsAskedToStopEndsTheBuildOfAll) {
  const auto cache = folder.path("cache").string();
  const auto stopped = struck("layalign-cache", 2, "build " + config, "ls " + cache + "/shard-*.json >/dev/null 2>&1",
                              "kill -TERM $(pgrep -P $run -x layalign-cache | tail -n 1)");
  EXPECT_EQ(stopped.code, kSaved) << stopped.output;
  EXPECT_THAT(stopped.output, HasSubstr("stopped by SIGTERM"));
  EXPECT_EQ(stopped.output.find("cache: built"), std::string::npos) << stopped.output;
  EXPECT_EQ(run_program("layalign-cache", 2, "build " + config).code, 0);
}

TEST_F(StoppingMiniature, ARankThatHasBuiltItsShareAndOnlyWaitsIsHeard) {
  const auto cache = folder.path("cache").string();
  // Three shards of 50 MiB: the first rank has two of them, so the second waits when two are there.
  const auto build = "build " + config + " --set cache.shard_bytes=50MiB --set cache.layers=[0] --set model.encoder_layers=[0]";
  const auto stopped = struck("layalign-cache", 2, build, "[ $(ls " + cache + "/shard-*.json 2>/dev/null | wc -l) -ge 2 ]",
                              "for rank in $(pgrep -P $run -x layalign-cache); do "
                              "grep -qz ^OMPI_COMM_WORLD_RANK=1$ /proc/$rank/environ && kill -TERM $rank; done");
  EXPECT_EQ(stopped.code, kSaved) << stopped.output;
  EXPECT_THAT(stopped.output, HasSubstr("rank 0: stopped by SIGTERM")) << "the one that had work left";
  const auto resumed = run_program("layalign-cache", 2, build);
  EXPECT_EQ(resumed.code, 0) << resumed.output;
  EXPECT_EQ(run_program("layalign-cache", 1, "verify " + cache).code, 0);
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
