#include "trainer/training_state.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>

#include "checkpoints_tools/error.h"
#include "checkpoints_tools/file_operations.h"
#include "checkpoints_tools/hash.h"
#include "tests/unit/trainer/scratch_folder.h"
#include "trainer/error.h"

namespace layalign::trainer {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::array<const char*, 4> kFiles{"trainables.safetensors", "moments-00000-of-00001.safetensors", "state.json",
                                            "manifest.json"};

TrainingState state_at(int64_t stage_index, int64_t step) {
  TrainingState state;
  state.stage_index = stage_index;
  state.step = step;
  state.layout = {{"mapping.linear1.weight", {2, 3}}, {"aligner.fc1.weight", {4}}, {"gates", {1}}};
  state.masters = at::arange(11, at::kFloat) / 3.0 + static_cast<double>(step);
  state.exp_avg = at::arange(11, at::kFloat) * 1e-7;
  state.exp_avg_sq = at::arange(11, at::kFloat) * 1e-20;
  state.encoder_fingerprint = "0123abcd";
  state.llm_fingerprint = "feed";
  state.encoder_tokenizer_fingerprint = "t5";
  state.llm_tokenizer_fingerprint = "llama";
  state.model_configs = {"mt5", "llama"};
  state.corpus_fingerprints = {"one", "two"};
  state.split_fingerprints = {"three", "four"};
  state.initial_weights = "seed";
  state.processors = "GenuineIntel AVX512";
  state.accuracy_rule = "mgsm";
  state.best_perplexity = 1.0 / 3.0;
  state.best_accuracy = 0.1;
  state.elapsed_s = 12.25;
  state.world_size = 4;
  state.tp_size = 2;
  state.threads = 3;
  return state;
}

/// Two stages' folders in a scratch folder.
struct Stages {
  ScratchFolder scratch;
  std::vector<fs::path> folders{scratch / "1-translation", scratch / "2-task"};
  Stages() {
    for (const fs::path& folder : folders) fs::create_directory(folder);
  }
};

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

TEST(TrainingState, ComesBackBitForBit) {
  const Stages stages;
  const TrainingState saved = state_at(1, 200);
  save_training_state(stages.folders[1], saved, {.newest = 3});
  std::vector<std::string> warnings;
  const std::optional<TrainingState> found = newest_training_state(stages.folders, &warnings);
  ASSERT_TRUE(found);
  EXPECT_THAT(warnings, ElementsAre());
  EXPECT_TRUE(found->masters.equal(saved.masters));
  EXPECT_TRUE(found->exp_avg.equal(saved.exp_avg));
  EXPECT_TRUE(found->exp_avg_sq.equal(saved.exp_avg_sq));
  EXPECT_EQ(found->layout, saved.layout);
  EXPECT_EQ(found->stage_index, 1);
  EXPECT_EQ(found->step, 200);
  EXPECT_EQ(found->best_perplexity, saved.best_perplexity);
  EXPECT_EQ(found->best_accuracy, saved.best_accuracy);
  EXPECT_EQ(found->elapsed_s, saved.elapsed_s);
  EXPECT_EQ(found->encoder_fingerprint, saved.encoder_fingerprint);
  EXPECT_EQ(found->llm_fingerprint, saved.llm_fingerprint);
  EXPECT_EQ(found->encoder_tokenizer_fingerprint, saved.encoder_tokenizer_fingerprint);
  EXPECT_EQ(found->llm_tokenizer_fingerprint, saved.llm_tokenizer_fingerprint);
  EXPECT_EQ(found->model_configs, saved.model_configs);
  EXPECT_EQ(found->corpus_fingerprints, saved.corpus_fingerprints);
  EXPECT_EQ(found->split_fingerprints, saved.split_fingerprints);
  EXPECT_EQ(found->initial_weights, saved.initial_weights);
  EXPECT_EQ(found->processors, saved.processors);
  EXPECT_EQ(found->accuracy_rule, saved.accuracy_rule);
  EXPECT_EQ(found->world_size, 4);
  EXPECT_EQ(found->tp_size, 2);
  EXPECT_EQ(found->threads, 3);
}

/// The shares of all ranks but the first, cut from the whole moments.
class SharesOf : public OtherShares {
 public:
  SharesOf(const TrainingState& whole, int64_t ranks) : whole_(whole), ranks_(ranks) {}
  void begin(const fs::path& folder) override { folder_ = folder; }
  std::vector<MomentsFile> finish() override {
    if (fails) throw IoError("rank 2: no room");
    std::vector<MomentsFile> files;
    for (int64_t rank = 1; rank < ranks_; ++rank) {
      const auto share = share_of(whole_.masters.numel(), rank, ranks_);
      const auto cut = [&](const at::Tensor& tensor) { return tensor.narrow(0, share.begin, share.end - share.begin); };
      files.push_back(save_moments(folder_, cut(whole_.exp_avg), cut(whole_.exp_avg_sq), share, rank, ranks_));
    }
    return files;
  }
  bool fails = false;

 private:
  const TrainingState& whole_;
  int64_t ranks_;
  fs::path folder_;
};

/// What the first of `ranks` ranks passes to save_training_state.
TrainingState first_share(TrainingState state, int64_t ranks) {
  const auto share = share_of(state.masters.numel(), 0, ranks);
  state.exp_avg = state.exp_avg.narrow(0, 0, share.end);
  state.exp_avg_sq = state.exp_avg_sq.narrow(0, 0, share.end);
  state.world_size = ranks;
  return state;
}

TEST(TrainingState, TheSharesOfAllRanksAreOneState) {
  for (const int64_t ranks : {2, 3, 11, 16}) {  // 11 elements: of 16 ranks five have nothing
    const Stages stages;
    const TrainingState whole = state_at(0, 10);
    SharesOf others(whole, ranks);
    save_training_state(stages.folders[0], first_share(whole, ranks), {.newest = 1}, &others);
    const auto found = newest_training_state(stages.folders, nullptr);
    ASSERT_TRUE(found);
    EXPECT_TRUE(found->masters.equal(whole.masters)) << ranks;
    EXPECT_TRUE(found->exp_avg.equal(whole.exp_avg)) << ranks;
    EXPECT_TRUE(found->exp_avg_sq.equal(whole.exp_avg_sq)) << ranks;
    EXPECT_EQ(names_in(stages.folders[0] / "step-00000010").size(), static_cast<size_t>(ranks) + 3);
  }
}

TEST(TrainingState, ARankThatCannotWriteItsShareLeavesTheStateBefore) {
  const Stages stages;
  const TrainingState whole = state_at(0, 20);
  save_training_state(stages.folders[0], state_at(0, 10), {.newest = 1});
  SharesOf others(whole, 3);
  others.fails = true;
  EXPECT_THROW(save_training_state(stages.folders[0], first_share(whole, 3), {.newest = 1}, &others), IoError);
  EXPECT_THAT(names_in(stages.folders[0]), ElementsAre("step-00000010"));
}

TEST(TrainingState, AShareThatIsMissingInTheMapIsNoticed) {
  for (const int64_t missing : {0, 1, 2}) {
    const Stages stages;
    const TrainingState whole = state_at(0, 10);
    SharesOf others(whole, 3);
    save_training_state(stages.folders[0], first_share(whole, 3), {.newest = 1}, &others);
    const fs::path path = stages.folders[0] / "step-00000010/manifest.json";
    auto manifest = nlohmann::ordered_json::parse(read_bytes(path));
    manifest["moments"].erase(static_cast<size_t>(missing));
    write_bytes(path, manifest.dump());
    try {
      load_training_state(path.parent_path());
      FAIL() << "loaded without share " << missing;
    } catch (const checkpoints_tools::CheckpointError& error) {
      EXPECT_THAT(error.what(), HasSubstr("'moments' has no share behind element"));
    }
  }
}

TEST(TrainingState, TheNewestOneIsNamedBesideTheStages) {
  const Stages stages;
  save_training_state(stages.folders[0], state_at(0, 10), {.newest = 1});
  EXPECT_EQ(read_bytes(stages.scratch / "latest"), "1-translation/step-00000010\n");
  save_training_state(stages.folders[1], state_at(1, 2), {.newest = 1});
  EXPECT_EQ(read_bytes(stages.scratch / "latest"), "2-task/step-00000002\n");
}

/// So that it never names one that is no longer there.
TEST(TrainingState, TheNewestOneIsNamedBeforeOlderOnesGo) {
  const Stages stages;
  save_training_state(stages.folders[0], state_at(0, 10), {.newest = 1});
  checkpoints_tools::set_file_hook(
      [](const checkpoints_tools::FileOperation& operation) -> checkpoints_tools::FileFault {
        if (operation.path.filename() != "step-00000010.tmp") return {};
        return {checkpoints_tools::FileFault::Kind::kError, EIO};
      });
  EXPECT_THROW(save_training_state(stages.folders[0], state_at(0, 20), {.newest = 1}), IoError);
  checkpoints_tools::set_file_hook({});
  EXPECT_EQ(read_bytes(stages.scratch / "latest"), "1-translation/step-00000020\n");
  EXPECT_THAT(names_in(stages.folders[0]), ElementsAre("step-00000010", "step-00000020"));
}

TEST(TrainingState, OneThatWasKilledWhileItReplacedAnotherIsFound) {
  const Stages stages;
  save_training_state(stages.folders[0], state_at(0, 10), {.newest = 1});
  fs::rename(stages.folders[0] / "step-00000010", stages.folders[0] / "step-00000010.old.tmp");
  const auto found = newest_training_state(stages.folders, nullptr);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->step, 10);
}

TEST(TrainingState, NoEvaluationYetIsAnInfinitePerplexity) {
  const Stages stages;
  TrainingState state = state_at(0, 1);
  state.best_perplexity = std::numeric_limits<double>::infinity();
  save_training_state(stages.folders[0], state, {.newest = 1});
  EXPECT_TRUE(std::isinf(newest_training_state(stages.folders, nullptr)->best_perplexity));
}

TEST(TrainingState, NothingIsFoundWhereNothingIs) {
  const ScratchFolder scratch;
  EXPECT_FALSE(newest_training_state({scratch / "1-translation", scratch.path()}, nullptr));
}

TEST(TrainingState, KeepsTheNewestOfTheStage) {
  const Stages stages;
  for (int64_t step = 2; step <= 12; step += 2) save_training_state(stages.folders[0], state_at(0, step), {.newest = 2});
  EXPECT_THAT(names_in(stages.folders[0]), ElementsAre("step-00000010", "step-00000012"));
  save_training_state(stages.folders[0], state_at(0, 14), {.newest = 0});  // never none
  EXPECT_THAT(names_in(stages.folders[0]), ElementsAre("step-00000014"));
}

TEST(TrainingState, KeepsEveryMthBesides) {
  const Stages stages;
  for (int64_t step = 2; step <= 16; step += 2) save_training_state(stages.folders[0], state_at(0, step), {.newest = 1, .every = 6});
  EXPECT_THAT(names_in(stages.folders[0]), ElementsAre("step-00000006", "step-00000012", "step-00000016"));
  // A resume from an earlier step has abandoned those of later ones.
  save_training_state(stages.folders[0], state_at(0, 8), {.newest = 1, .every = 6});
  EXPECT_THAT(names_in(stages.folders[0]), ElementsAre("step-00000006", "step-00000008"));
}

TEST(TrainingState, ALaterStageIsNewer) {
  const Stages stages;
  save_training_state(stages.folders[0], state_at(0, 500), {.newest = 1});
  save_training_state(stages.folders[1], state_at(1, 7), {.newest = 1});
  EXPECT_EQ(newest_training_state(stages.folders, nullptr)->step, 7);
}

TEST(TrainingState, SavingAStepAgainReplacesIt) {
  const Stages stages;
  save_training_state(stages.folders[0], state_at(0, 5), {.newest = 3});
  TrainingState again = state_at(0, 5);
  again.elapsed_s = 99;
  save_training_state(stages.folders[0], again, {.newest = 3});
  EXPECT_EQ(newest_training_state(stages.folders, nullptr)->elapsed_s, 99);
  EXPECT_THAT(names_in(stages.folders[0]), ElementsAre("step-00000005"));
}

TEST(TrainingState, EveryFlippedByteIsFound) {
  const Stages stages;
  save_training_state(stages.folders[0], state_at(0, 1), {.newest = 3});
  for (const char* name : kFiles) {
    const fs::path path = stages.folders[0] / "step-00000001" / name;
    const std::string whole = read_bytes(path);
    for (size_t i = 0; i < whole.size(); ++i) {
      std::string bad = whole;
      bad[i] = static_cast<char>(bad[i] ^ (1 << (i % 8)));
      write_bytes(path, bad);
      EXPECT_THROW(load_training_state(stages.folders[0] / "step-00000001"), checkpoints_tools::CheckpointError)
          << name << " byte " << i;
    }
    write_bytes(path, whole);
  }
  EXPECT_NO_THROW(load_training_state(stages.folders[0] / "step-00000001"));
}

TEST(TrainingState, ADamagedOneIsNamedAndTheOneBeforeIsTaken) {
  for (const char* name : kFiles) {
    for (const bool missing : {false, true}) {
      const Stages stages;
      save_training_state(stages.folders[0], state_at(0, 10), {.newest = 3});
      save_training_state(stages.folders[0], state_at(0, 20), {.newest = 3});
      const fs::path path = stages.folders[0] / "step-00000020" / name;
      if (missing) {
        fs::remove(path);
      } else {
        fs::resize_file(path, fs::file_size(path) / 2);
      }
      std::vector<std::string> warnings;
      const std::optional<TrainingState> found = newest_training_state(stages.folders, &warnings);
      ASSERT_TRUE(found) << name;
      EXPECT_EQ(found->step, 10);
      EXPECT_THAT(warnings, ElementsAre(testing::AllOf(HasSubstr("step-00000020 is damaged"), HasSubstr(name))));

      // Going on from step 10 must not lose the new state to the damaged later one.
      save_training_state(stages.folders[0], state_at(0, 15), {.newest = 1});
      EXPECT_THAT(names_in(stages.folders[0]), ElementsAre("step-00000015"));
    }
  }
}

/// Changes a checkpoint's state.json and its version, with a manifest that fits.
void rewrite(const fs::path& folder, int64_t version, const std::function<void(nlohmann::ordered_json&)>& change) {
  auto state = nlohmann::ordered_json::parse(read_bytes(folder / "state.json"));
  state["format_version"] = version;
  change(state);
  write_bytes(folder / "state.json", state.dump());
  auto manifest = nlohmann::ordered_json::parse(read_bytes(folder / "manifest.json"));
  manifest["format_version"] = version;
  const std::string bytes = read_bytes(folder / "state.json");
  manifest["files"]["state.json"] = {{"bytes", bytes.size()}, {"xxh3", checkpoints_tools::xxh3_hex(std::as_bytes(std::span(bytes)))}};
  write_bytes(folder / "manifest.json", manifest.dump());
}

TEST(TrainingState, AnEarlierOneWithoutTheLaterFieldsIsRead) {
  const Stages stages;
  save_training_state(stages.folders[0], state_at(0, 10), {.newest = 3});
  rewrite(stages.folders[0] / "step-00000010", 4, [](auto& state) {
    for (const char* key : {"model_configs", "split_fingerprints", "initial_weights", "processors"})
      EXPECT_EQ(state.erase(key), 1u);
  });
  const auto found = load_training_state(stages.folders[0] / "step-00000010");
  EXPECT_THAT(found.model_configs, ElementsAre());
  EXPECT_THAT(found.split_fingerprints, ElementsAre());
  EXPECT_EQ(found.initial_weights, "");
  EXPECT_EQ(found.processors, "");
}

TEST(TrainingState, ThatOfAnotherVersionIsRefusedAndNotPassedOver) {
  const Stages stages;
  save_training_state(stages.folders[0], state_at(0, 10), {.newest = 3});
  save_training_state(stages.folders[0], state_at(0, 20), {.newest = 3});
  rewrite(stages.folders[0] / "step-00000020", 99, [](auto&) {});
  try {
    newest_training_state(stages.folders, nullptr);
    FAIL() << "passed over";
  } catch (const OtherVersionError& error) {
    EXPECT_THAT(error.what(), HasSubstr("step-00000020"));
    EXPECT_THAT(error.what(), HasSubstr("format_version 99, this one reads 4"));
  }
}

TEST(TrainingState, WhereAllAreDamagedNothingIsBegunAnew) {
  const Stages stages;
  for (const int64_t step : {10, 20}) {
    save_training_state(stages.folders[0], state_at(0, step), {.newest = 3});
    fs::remove(stages.folders[0] / ("step-000000" + std::to_string(step)) / "moments-00000-of-00001.safetensors");
  }
  try {
    newest_training_state(stages.folders, nullptr);
    FAIL() << "began anew";
  } catch (const checkpoints_tools::CheckpointError& error) {
    EXPECT_THAT(error.what(), HasSubstr("all checkpoints of this run are damaged"));
    EXPECT_THAT(error.what(), HasSubstr("step-00000010"));
  }
}

TEST(TrainingState, UnfinishedFoldersAreNotSeen) {
  const Stages stages;
  save_training_state(stages.folders[0], state_at(0, 10), {.newest = 3});
  fs::copy(stages.folders[0] / "step-00000010", stages.folders[0] / "step-00000020.tmp");
  std::vector<std::string> warnings;
  EXPECT_EQ(newest_training_state(stages.folders, &warnings)->step, 10);
  EXPECT_THAT(warnings, ElementsAre());
  save_training_state(stages.folders[0], state_at(0, 20), {.newest = 3});  // the leftover is in the way of its own step
  EXPECT_THAT(names_in(stages.folders[0]), ElementsAre("step-00000010", "step-00000020"));
}

TEST(TrainingState, AKilledSaveLeavesTheStateBeforeOrTheNewOne) {
  const Stages stages;
  int64_t step = 1;
  save_training_state(stages.folders[0], state_at(0, step), {.newest = 2});
  for (int trial = 0; trial < 40; ++trial) {
    const TrainingState next = state_at(0, step + 1);
    const pid_t child = ::fork();
    if (child == 0) {
      save_training_state(stages.folders[0], next, {.newest = 2});
      ::_exit(0);
    }
    ::usleep(static_cast<useconds_t>(100 * trial));  // any moment will do: each must hold
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    std::vector<std::string> warnings;
    const std::optional<TrainingState> found = newest_training_state(stages.folders, &warnings);
    ASSERT_TRUE(found);
    EXPECT_THAT(warnings, ElementsAre());
    EXPECT_TRUE(found->step == step || found->step == step + 1) << found->step << " after " << step;
    EXPECT_TRUE(found->masters.equal(state_at(0, found->step).masters));
    step = found->step;
  }
}

TEST(TrainingState, AFolderThatIsNotThereIsAnIoErrorThatNamesIt) {
  const ScratchFolder scratch;
  write_bytes(scratch / "file", "");
  try {
    save_training_state(scratch / "file", state_at(0, 1), {.newest = 1});
    FAIL() << "saved into a file";
  } catch (const IoError& error) {
    EXPECT_THAT(error.what(), HasSubstr((scratch / "file").string()));
  }
}

}  // namespace
}  // namespace layalign::trainer
