#include "trainer/run_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <optional>

#include "checkpoints_tools/file_operations.h"
#include "configs/error.h"
#include "configs/reader.h"
#include "tests/unit/trainer/scratch_folder.h"
#include "trainer/error.h"
#include "trainer/summary.h"

namespace layalign::trainer {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

configs::RunConfig config_for(const fs::path& output) {
  configs::RunConfig config;
  config.output = output.string();
  config.model.encoder = "models/encoder";
  config.model.llm = "models/llm";
  for (const char* name : {"translation", "task"}) {
    configs::StageConfig stage;
    stage.name = name;
    stage.corpus.format = "jsonl";
    stage.corpus.path = "train.jsonl";
    config.stages.push_back(stage);
  }
  return config;
}

/// A run folder in a scratch folder that has begun with its config.
struct BegunRun {
  ScratchFolder scratch;
  configs::RunConfig config = config_for(scratch / "run");
  RunFolder folder{config.output, config.stages};
  BegunRun() { begin_run(folder, config, ""); }
};

/// The message with which an inspection is refused.
std::string refusal(const RunFolder& folder, const configs::RunConfig& config) {
  try {
    inspect_run(folder, config, nullptr);
  } catch (const configs::ConfigError& error) {
    return error.what();
  }
  return "not refused";
}

TEST(RunFolder, LaysTheFilesOut) {
  const RunFolder folder("runs/math", config_for("runs/math").stages);
  EXPECT_EQ(folder.metrics(), "runs/math/metrics.jsonl");
  EXPECT_EQ(folder.trainables(0), "runs/math/1-translation/trainables.safetensors");
  EXPECT_EQ(folder.best(1), "runs/math/2-task/best.safetensors");
  EXPECT_THROW(folder.best(2), std::out_of_range);
}

TEST(RunFolder, IsFreshThenResumesThenIsFinished) {
  const ScratchFolder scratch;
  const configs::RunConfig config = config_for(scratch / "deep/run");
  const RunFolder folder(config.output, config.stages);
  std::vector<std::string> changed;
  EXPECT_EQ(inspect_run(folder, config, &changed), RunState::kFresh);
  EXPECT_FALSE(fs::exists(folder.output())) << "an inspection must not write";

  const RunLock lock(folder);
  EXPECT_EQ(inspect_run(folder, config, &changed), RunState::kFresh);
  begin_run(folder, config, "");
  EXPECT_EQ(inspect_run(folder, config, &changed), RunState::kResume);
  EXPECT_EQ(configs::differences(configs::load_config(folder.config()), config), std::vector<std::string>{});

  write_bytes(folder.metrics(), "");
  finish_run(folder, summarize_run(folder));
  EXPECT_EQ(inspect_run(folder, config, &changed), RunState::kFinished);
  EXPECT_THAT(changed, ElementsAre());
}

TEST(RunFolder, AnEmptyFolderAndOneFromARunKilledAtItsStartAreFresh) {
  const ScratchFolder scratch;
  const configs::RunConfig config = config_for(scratch.path());
  const RunFolder folder(config.output, config.stages);
  EXPECT_EQ(inspect_run(folder, config, nullptr), RunState::kFresh);
  fs::create_directory(folder.stages()[0]);
  write_bytes(scratch / ".lock", "");
  write_bytes(scratch / "config.yaml.tmp", "out");
  fs::create_directory(folder.evaluation());  // of the frozen LLM, before there is a run
  write_bytes(folder.evaluation() / "outputs.jsonl", "{}");
  EXPECT_EQ(inspect_run(folder, config, nullptr), RunState::kFresh);
}

TEST(RunFolder, NamesEveryKeyInWhichAnotherRunDiffers) {
  const BegunRun run;
  configs::RunConfig other = run.config;
  other.seed = 7;
  other.stages[1].lr = 0.5;
  other.log.every = 3;
  EXPECT_THAT(refusal(run.folder, other),
              AllOf(HasSubstr(run.config.output + " holds a run with another config"), HasSubstr("seed"),
                    HasSubstr("lr"), HasSubstr("choose another `output`"), Not(HasSubstr("log.every"))));
}

TEST(RunFolder, AResumeMayDifferInWhatDoesNotChangeTheResult) {
  const BegunRun run;
  configs::RunConfig other = run.config;
  other.log.every = 3;
  other.checkpoint.keep = 9;
  other.parallel.tensor = 2;
  other.optimizer.skip_nonfinite = 3;
  other.stages[1].micro_batch = 2;
  std::vector<std::string> changed;
  EXPECT_EQ(inspect_run(run.folder, other, &changed), RunState::kResume);
  EXPECT_THAT(changed, testing::UnorderedElementsAre(
                           HasSubstr("log.every"), HasSubstr("checkpoint.keep"), HasSubstr("parallel.tensor"),
                           HasSubstr("optimizer.skip_nonfinite"), HasSubstr("stages.1.micro_batch")));
}

TEST(RunFolder, AMicroBatchMattersWhereTheLossIsItsMean) {
  const ScratchFolder scratch;
  configs::RunConfig config = config_for(scratch / "run");
  config.optimizer.loss_normalization = "micro_batch";
  const RunFolder folder(config.output, config.stages);
  begin_run(folder, config, "");
  config.stages[0].micro_batch = 2;
  EXPECT_THAT(refusal(folder, config), HasSubstr("stages.0.micro_batch: 8 != 2"));
}

TEST(RunFolder, FilesMayHaveMovedWhileTheRunGoesOn) {
  const BegunRun run;
  configs::RunConfig moved = run.config;
  moved.model.encoder = "/new/encoder";
  moved.model.llm = "/new/llm";
  moved.model.init = "/new/init.safetensors";
  moved.data.root = "/new/data";
  moved.stages[1].corpus.path = "/new/train.jsonl";
  std::vector<std::string> changed;
  EXPECT_EQ(inspect_run(run.folder, moved, &changed), RunState::kResume);
  EXPECT_THAT(changed, testing::UnorderedElementsAre(HasSubstr("model.encoder"), HasSubstr("model.llm"),
                                                     HasSubstr("model.init"), HasSubstr("data.root"),
                                                     HasSubstr("stages.1.corpus.path: train.jsonl != /new")));
  configs::RunConfig other = run.config;
  other.model.encoder_layers = {configs::LayerList::Kind::kAll, {}, 0};  // of a name that begins as a path's does
  EXPECT_THAT(refusal(run.folder, other), HasSubstr("model.encoder_layers"));

  // Of a finished run nothing is read that could tell whether they are the same.
  write_bytes(run.folder.metrics(), "");
  finish_run(run.folder, summarize_run(run.folder));
  EXPECT_THAT(refusal(run.folder, moved), AllOf(HasSubstr("holds a finished run"), HasSubstr("model.llm")));
}

TEST(RunFolder, ARunOfAnotherOutputGoesOnWithItsOwnConfigButNotWithOtherTrainedParts) {
  const BegunRun run;
  configs::RunConfig next = run.config;
  next.stages[0].lr = 0.5;
  next.seed = 3;
  next.model.llm = "/new/llm";
  EXPECT_THAT(differences_from(run.folder.output(), next),
              testing::UnorderedElementsAre(HasSubstr("stages.0.lr"), HasSubstr("seed"), HasSubstr("model.llm")));
  next.model.gate = "dynamic";
  try {
    differences_from(run.folder.output(), next);
    FAIL() << "other gates were taken";
  } catch (const configs::ConfigError& error) {
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("trains other weights"), HasSubstr("model.gate"), Not(HasSubstr("seed"))));
  }
}

TEST(RunFolder, RemembersWhereTheRunBegan) {
  const ScratchFolder scratch;
  const configs::RunConfig config = config_for(scratch / "run");
  const RunFolder folder(config.output, config.stages);
  EXPECT_EQ(origin_of(folder), "");
  begin_run(folder, config, "/runs/first/1-translation/step-00000004");
  EXPECT_EQ(origin_of(folder), "/runs/first/1-translation/step-00000004");
  // Killed before the config was there: nothing has begun.
  fs::remove(folder.config());
  EXPECT_EQ(inspect_run(folder, config, nullptr), RunState::kFresh);
  EXPECT_EQ(origin_of(folder), "");
  begin_run(folder, config, "");
  EXPECT_FALSE(fs::exists(folder.origin()));
}

TEST(RunFolder, AStageWithoutItsConfigIsNotCalledForeign) {
  const BegunRun run;
  write_bytes(run.folder.trainables(0), "weights");
  fs::remove(run.folder.config());
  EXPECT_THAT(refusal(run.folder, run.config), AllOf(HasSubstr("1-translation"), HasSubstr("without its config.yaml")));
}

TEST(RunFolder, PrecisionChangesTheResult) {
  const BegunRun run;
  configs::RunConfig other = run.config;
  other.parallel.precision = "bfloat16";
  EXPECT_THAT(refusal(run.folder, other), HasSubstr("parallel.precision"));
}

TEST(RunFolder, NeverWritesAmongForeignFiles) {
  const ScratchFolder scratch;
  const configs::RunConfig config = config_for(scratch.path());
  const RunFolder folder(config.output, config.stages);
  write_bytes(scratch / "thesis.tex", "mine");
  EXPECT_THAT(refusal(folder, config), AllOf(HasSubstr("no run"), HasSubstr("thesis.tex")));

  const configs::RunConfig file = config_for(scratch / "thesis.tex");
  EXPECT_THAT(refusal(RunFolder(file.output, file.stages), file), HasSubstr("thesis.tex is not a folder"));
}

TEST(RunFolder, AnUnreadableConfigIsNoReasonToGuess) {
  const BegunRun run;
  write_bytes(run.folder.config(), "output: [1\n");
  EXPECT_THAT(refusal(run.folder, run.config), AllOf(HasSubstr("cannot be compared"), HasSubstr("config.yaml")));
}

TEST(RunFolder, BeginningAgainRemovesWhatAKilledRunLeft) {
  const BegunRun run;
  const fs::path stage = run.folder.stages()[0];
  fs::create_directories(stage / "step-00000003.tmp");
  write_bytes(stage / "step-00000003.tmp/state.json", "{");
  write_bytes(stage / "best.safetensors.tmp", "half");
  write_bytes(stage / "best.safetensors", "whole");
  for (const char* name : {"latest.tmp", "metrics.jsonl.tmp", "evaluations.jsonl.tmp", "summary.json.tmp"}) {
    write_bytes(run.folder.output() / name, "half");
  }
  write_bytes(run.folder.output() / "notes.tmp", "of the user");
  begin_run(run.folder, run.config, "");
  EXPECT_FALSE(fs::exists(stage / "step-00000003.tmp"));
  EXPECT_FALSE(fs::exists(stage / "best.safetensors.tmp"));
  std::vector<std::string> left;
  for (const auto& entry : fs::directory_iterator(run.folder.output())) {
    if (entry.path().extension() == ".tmp") left.push_back(entry.path().filename());
  }
  EXPECT_THAT(left, ElementsAre("notes.tmp"));
  EXPECT_EQ(read_bytes(stage / "best.safetensors"), "whole");
}

/// What is durable in a folder is lost with the folder's name.
TEST(RunLock, MakesTheFolderAndItsNameDurable) {
  const ScratchFolder scratch;
  const configs::RunConfig config = config_for(scratch / "deep/run");
  std::vector<checkpoints_tools::FileOperation> log;
  checkpoints_tools::set_file_hook(checkpoints_tools::record_into(log));
  { const RunLock lock(RunFolder(config.output, config.stages)); }
  checkpoints_tools::set_file_hook({});
  std::vector<std::string> done;
  for (const auto& operation : log) {
    done.push_back(std::string(name_of(operation.action)) + " " +
                   operation.path.lexically_relative(scratch.path()).string());
  }
  EXPECT_THAT(done, ElementsAre("make folder deep", "flush folder .", "make folder deep/run", "flush folder deep"));
}

TEST(RunLock, IsRefusedWithTheHolderAndFreeAfterwards) {
  const BegunRun run;
  std::optional<RunLock> first(run.folder);
  try {
    const RunLock second(run.folder, 0.0);
    FAIL() << "two runs hold the folder";
  } catch (const configs::ConfigError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("being written by another run (process " + std::to_string(::getpid())),
                                    HasSubstr(" on "), HasSubstr(run.config.output)));
  }
  first.reset();
  EXPECT_NO_THROW(RunLock(run.folder, 0.0));
}

TEST(RunLock, AFolderThatCannotBeMadeIsAnIoError) {
  const ScratchFolder scratch;
  write_bytes(scratch / "file", "");
  EXPECT_THROW(RunLock(RunFolder(scratch / "file/run", {}), 0.0), IoError);
}

}  // namespace
}  // namespace layalign::trainer
