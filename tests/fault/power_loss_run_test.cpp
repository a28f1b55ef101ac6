// Power is lost at any change of a run's files: its newest checkpoint is the last one that was reported or the one that
// was being written, bit for bit, every other thing that it holds is whole, and the run goes on.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <future>
#include <optional>

#include "configs/schema.h"
#include "tests/fault/power_loss.h"
#include "trainer/metrics.h"
#include "trainer/run_folder.h"
#include "trainer/summary.h"
#include "trainer/trainables_file.h"
#include "trainer/training_state.h"

namespace layalign::test {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using trainer::KeepRule;
using trainer::newest_training_state;
using trainer::RunFolder;
using trainer::RunState;
using trainer::TrainingState;

constexpr int64_t kNumel = 2100;  // 8400 bytes: they can be torn
constexpr const char* kName = "runs/math";
const std::set<std::string> kRunLocks = {".lock"};

configs::RunConfig config_for(const fs::path& disk) {
  configs::RunConfig config;
  config.output = (disk / kName).string();
  config.model.encoder = "models/encoder";
  config.model.llm = "models/llm";
  configs::StageConfig stage;
  stage.name = "translation";
  stage.corpus.format = "jsonl";
  stage.corpus.path = "train.jsonl";
  config.stages.push_back(stage);
  return config;
}

RunFolder run_on(const fs::path& disk) {
  const auto config = config_for(disk);
  return {config.output, config.stages};
}

TrainingState state_at(int64_t step, double elapsed_s = 0) {
  TrainingState state;
  state.step = step;
  state.layout = {{"aligner.fc1.weight", {kNumel - 100}}, {"gates", {100}}};
  state.masters = at::arange(kNumel, at::kFloat) + static_cast<double>(step);
  state.exp_avg = at::arange(kNumel, at::kFloat) * 1e-7 - static_cast<double>(step);
  state.exp_avg_sq = at::arange(kNumel, at::kFloat) * 1e-9 + static_cast<double>(step);
  state.elapsed_s = elapsed_s;
  return state;
}

bool same(const TrainingState& a, const TrainingState& b) {
  return a.step == b.step && a.elapsed_s == b.elapsed_s && a.layout == b.layout && a.masters.equal(b.masters) &&
         a.exp_avg.equal(b.exp_avg) && a.exp_avg_sq.equal(b.exp_avg_sq);
}

/// The other ranks: a thread each writes its share.
class SharesOf : public trainer::OtherShares {
 public:
  SharesOf(const TrainingState& whole, int64_t ranks) : whole_(whole), ranks_(ranks) {}
  void begin(const fs::path& folder) override {
    for (int64_t rank = 1; rank < ranks_; ++rank) {
      written_.push_back(std::async(std::launch::async, [=, this] {
        const auto share = trainer::share_of(kNumel, rank, ranks_);
        const auto cut = [&](const at::Tensor& tensor) {
          return tensor.narrow(0, share.begin, share.end - share.begin);
        };
        return save_moments(folder, cut(whole_.exp_avg), cut(whole_.exp_avg_sq), share, rank, ranks_);
      }));
    }
  }
  std::vector<trainer::MomentsFile> finish() override {
    std::vector<trainer::MomentsFile> files;
    for (auto& file : written_) files.push_back(file.get());
    return files;
  }

 private:
  const TrainingState& whole_;
  int64_t ranks_;
  std::vector<std::future<trainer::MomentsFile>> written_;
};

void save(const RunFolder& run, const TrainingState& state, const KeepRule& keep, int64_t ranks = 1) {
  if (ranks == 1) return save_training_state(run.stages()[0], state, keep);
  TrainingState first = state;
  const auto share = trainer::share_of(kNumel, 0, ranks);
  first.world_size = ranks;
  first.exp_avg = state.exp_avg.narrow(0, 0, share.end);
  first.exp_avg_sq = state.exp_avg_sq.narrow(0, 0, share.end);
  SharesOf others(state, ranks);
  save_training_state(run.stages()[0], first, keep, &others);
}

/// What the newest checkpoint of a run is, one after the other; each is reported when it is written.
using History = std::vector<std::optional<TrainingState>>;

/// Compares a run after a loss of power with its history. The number in the history of what was found.
size_t check_newest(const RunFolder& run, const History& history, size_t reports) {
  std::vector<std::string> warnings;
  const auto found = newest_training_state(run.stages(), &warnings);
  EXPECT_THAT(warnings, ElementsAre());
  for (size_t number : {reports, reports + 1}) {
    if (number >= history.size() || found.has_value() != history[number].has_value()) continue;
    if (!found || same(*found, *history[number])) return number;
  }
  ADD_FAILURE() << "found " << (found ? "step " + std::to_string(found->step) : "nothing") << " after " << reports
                << " reports";
  return reports;
}

/// Every checkpoint is whole, and RUN/latest names one: the last one that was reported, or the newest, which is being
/// written.
void check_all_checkpoints(const RunFolder& run, const History& history, size_t reports, size_t newest) {
  const auto steps = trainer::step_folders(run.stages()[0]);
  for (const auto& [step, folder] : steps) EXPECT_NO_THROW(trainer::load_training_state(folder)) << folder;
  const auto files = read_disk(run.output()).files;
  const auto latest = files.find("latest");
  if (latest == files.end()) {
    EXPECT_EQ(reports, 0u) << "latest is missing";
    return;
  }
  std::vector<int64_t> allowed;
  for (size_t number = reports; number <= newest; ++number) {
    if (history[number]) allowed.push_back(history[number]->step);
  }
  int64_t named = 0;
  EXPECT_EQ(std::sscanf(latest->second.c_str(), "1-translation/step-%ld\n", &named), 1) << latest->second;
  EXPECT_THAT(allowed, testing::Contains(named));
  EXPECT_TRUE(steps.contains(named)) << named;
}

void check_checkpoints(const RunFolder& run, const History& history, size_t reports) {
  check_all_checkpoints(run, history, reports, check_newest(run, history, reports));
}

/// The same command again: it writes the next checkpoint, and nothing unfinished is left.
void check_goes_on(const fs::path& disk, int64_t step) {
  const RunFolder run = run_on(disk);
  {
    const trainer::RunLock lock(run);
    begin_run(run, config_for(disk), "");
    save(run, state_at(step), {.newest = 1});
  }
  std::vector<std::string> warnings;
  const auto found = newest_training_state(run.stages(), &warnings);
  EXPECT_TRUE(found && same(*found, state_at(step)));
  EXPECT_THAT(warnings, ElementsAre());
  EXPECT_EQ(trainer::step_folders(run.stages()[0]).size(), 1u);
  for (const auto& [path, bytes] : read_disk(disk).files) EXPECT_EQ(path.find(".tmp"), path.npos) << path;
}

/// A run from its first file to its summary.
TEST(PowerLossOfARun, LeavesTheReportedCheckpointOrTheNextOne) {
  for (const int64_t ranks : {1, 3}) {
    const MemoryFolder folder;
    const RunFolder run = run_on(folder.path());
    const auto config = config_for(folder.path());
    const History history = {std::nullopt, state_at(10), state_at(20)};
    Recording recording(folder.path());
    {
      const trainer::RunLock lock(run);
      begin_run(run, config, "");
      trainer::MetricsFile metrics(run.metrics());
      for (const int64_t step : {10, 20}) {
        trainer::StepMetrics line;
        line.stage = "translation";
        line.step = step;
        metrics.append(line);
        metrics.sync();
        save(run, state_at(step), {.newest = 1}, ranks);
        recording.reported();
      }
      trainer::save_trainables(run.trainables(0), state_at(20).layout, state_at(20).masters);
      recording.reported();
      finish_run(run, summarize_run(run));
      recording.reported();
    }
    const auto count = replay_power_losses(recording, kRunLocks, [&](const fs::path& disk, int reports) {
      const RunFolder left = run_on(disk);
      const auto state = inspect_run(left, config_for(disk), nullptr);
      EXPECT_TRUE(reports == 0 || state != RunState::kFresh);
      EXPECT_TRUE(reports < 4 || state == RunState::kFinished);
      const bool has_weights = fs::exists(left.output()) && fs::exists(left.trainables(0));
      EXPECT_TRUE(has_weights || (reports < 3 && state != RunState::kFinished));
      EXPECT_TRUE(!has_weights ||
                  trainer::load_trainables(left.trainables(0), state_at(20).layout).equal(state_at(20).masters));
      const auto saved = static_cast<size_t>(std::min(reports, 2));
      const size_t newest = check_newest(left, history, saved);
      if (fs::exists(left.output())) check_all_checkpoints(left, history, saved, newest);
      if (newest > 0) {
        trainer::MetricsFile metrics(left.metrics());
        metrics.truncate_after(0, history[newest]->step);
        EXPECT_EQ(metrics.lines(), static_cast<int64_t>(newest));
      }
      check_goes_on(disk, 30);
    });
    expect_states("run of " + std::to_string(ranks) + " ranks", count, ranks == 1 ? 1500 : 400);
  }
}

/// A checkpoint takes the place of another one of its step, whose content may be older or abandoned.
TEST(PowerLossOfARun, LeavesTheReplacedCheckpointOrTheNewOne) {
  for (const bool exchanges : {true, false}) {
    const MemoryFolder folder;
    const RunFolder run = run_on(folder.path());
    begin_run(run, config_for(folder.path()), "");
    save(run, state_at(5), {.newest = 3});
    save(run, state_at(10, 1), {.newest = 3});
    const History history = {state_at(10, 1), state_at(10, 2), state_at(10, 3)};
    Recording recording(folder.path(), exchanges);
    for (const double elapsed_s : {2, 3}) {
      save(run, state_at(10, elapsed_s), {.newest = 3});
      recording.reported();
    }
    const auto count = replay_power_losses(recording, kRunLocks, [&](const fs::path& disk, int reports) {
      const RunFolder left = run_on(disk);
      check_checkpoints(left, history, static_cast<size_t>(reports));
      EXPECT_TRUE(same(trainer::load_training_state(left.stages()[0] / "step-00000005"), state_at(5)));
      check_goes_on(disk, 30);
    });
    expect_states(exchanges ? "replaced by an exchange" : "replaced by two renames", count, 400);
  }
}

/// A run that is taken up after a loss of power while the power is lost again: an older checkpoint lies under its old
/// name, a newer one is half there.
TEST(PowerLossOfARun, ThatIsTakenUpAgainLosesNothing) {
  const MemoryFolder folder;
  const RunFolder run = run_on(folder.path());
  const auto config = config_for(folder.path());
  begin_run(run, config, "");
  save(run, state_at(10), {.newest = 1});
  const fs::path stage = run.stages()[0];
  fs::copy(stage / "step-00000010", stage / "step-00000020.tmp");
  fs::remove(stage / "step-00000020.tmp/manifest.json");
  fs::rename(stage / "step-00000010", stage / "step-00000010.old.tmp");
  write_disk({.files = {{"latest.tmp", "1-trans"}}}, run.output());
  const History history = {state_at(10), state_at(20), state_at(30)};
  Recording recording(folder.path());
  for (const int64_t step : {20, 30}) {
    const trainer::RunLock lock(run);
    begin_run(run, config, "");
    save(run, state_at(step), {.newest = 1});
    recording.reported();
  }
  const auto count = replay_power_losses(recording, kRunLocks, [&](const fs::path& disk, int reports) {
    const RunFolder left = run_on(disk);
    EXPECT_EQ(inspect_run(left, config_for(disk), nullptr), RunState::kResume);
    check_checkpoints(left, history, static_cast<size_t>(reports));
    check_goes_on(disk, 40);
  });
  expect_states("taken up again", count, 400);
}

/// Damaged checkpoints of later steps, which the resume from an earlier one removes.
TEST(PowerLossOfARun, ThatHasAbandonedLaterStepsLosesNothing) {
  const MemoryFolder folder;
  const RunFolder run = run_on(folder.path());
  begin_run(run, config_for(folder.path()), "");
  for (const int64_t step : {10, 20, 30}) save(run, state_at(step), {.newest = 3});
  for (const char* name : {"step-00000020", "step-00000030"})
    fs::resize_file(run.stages()[0] / name / "trainables.safetensors", 100);
  Recording recording(folder.path());
  save(run, state_at(15), {.newest = 2});
  recording.reported();
  const auto count = replay_power_losses(recording, kRunLocks, [&](const fs::path& disk, int reports) {
    const RunFolder left = run_on(disk);
    const auto found = newest_training_state(left.stages(), nullptr);
    ASSERT_TRUE(found);
    EXPECT_TRUE(same(*found, state_at(15)) || (reports == 0 && same(*found, state_at(10)))) << found->step;
    EXPECT_TRUE(same(trainer::load_training_state(left.stages()[0] / "step-00000010"), state_at(10)));
    check_goes_on(disk, 40);
  });
  expect_states("abandoned steps", count, 200);
}

}  // namespace
}  // namespace layalign::test
