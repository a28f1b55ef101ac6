#include "trainer/checkpoint_writer.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "checkpoints_tools/file_operations.h"
#include "tests/mpi/test_process.h"
#include "trainer/error.h"

namespace layalign::trainer {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

/// A folder that all ranks see, removed by the first one.
class SharedFolder {
 public:
  SharedFolder() {
    const auto process = test_process();
    std::string name = (fs::temp_directory_path() / "layalign-writer-XXXXXX").string();
    if (process->world_rank() == 0 && !mkdtemp(name.data())) throw std::runtime_error("mkdtemp failed");
    path_ = process->broadcast(name, 0);
  }
  ~SharedFolder() {
    test_process()->barrier();
    if (test_process()->world_rank() == 0) fs::remove_all(path_);
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

TrainingState state_of(int64_t step) {
  TrainingState state;
  state.step = step;
  state.layout = {{"aligner.fc1.weight", {5, 7}}, {"gates", {3}}};
  state.masters = at::arange(38, at::kFloat) + static_cast<double>(step);
  state.exp_avg = at::arange(38, at::kFloat) * 1e-3 * static_cast<double>(step);
  state.exp_avg_sq = at::arange(38, at::kFloat) * 1e-6 * static_cast<double>(step);
  state.world_size = test_process()->world_size();
  return state;
}

TEST(CheckpointWriter, EveryRankWritesItsShare) {
  const SharedFolder folder;
  const auto grid = dist::make_grid(test_process(), 1, "cpu", "auto");
  CheckpointWriter writer(grid);
  for (int64_t step = 1; step <= 6; ++step) writer.start(folder.path(), state_of(step), {.newest = 6});
  writer.wait();
  test_process()->barrier();
  for (int64_t step = 1; step <= 6; ++step) {
    const fs::path checkpoint = folder.path() / ("step-0000000" + std::to_string(step));
    const auto found = load_training_state(checkpoint);
    EXPECT_TRUE(found.masters.equal(state_of(step).masters)) << step;
    EXPECT_TRUE(found.exp_avg.equal(state_of(step).exp_avg)) << step;
    EXPECT_TRUE(found.exp_avg_sq.equal(state_of(step).exp_avg_sq)) << step;
    EXPECT_EQ(std::distance(fs::directory_iterator(checkpoint), fs::directory_iterator()), grid.world_size + 3);
  }
}

TEST(CheckpointWriter, TheRankThatCannotWriteAndTheFirstSaySo) {
  const SharedFolder folder;
  const auto grid = dist::make_grid(test_process(), 1, "cpu", "auto");
  const int last = grid.world_size - 1;
  CheckpointWriter writer(grid);
  if (grid.world_rank == last) {
    checkpoints_tools::set_file_hook([](const checkpoints_tools::FileOperation& operation) {
      const bool is_moments = operation.path.filename().string().starts_with("moments-");
      return is_moments ? checkpoints_tools::FileFault{checkpoints_tools::FileFault::Kind::kError, ENOSPC} : checkpoints_tools::FileFault{};
    });
  }
  writer.start(folder.path(), state_of(1), {.newest = 1});
  std::string problem;
  try {
    writer.wait();
  } catch (const IoError& error) {
    problem = error.what();
  }
  checkpoints_tools::set_file_hook({});
  test_process()->barrier();
  const bool hears = grid.world_rank == 0 || grid.world_rank == last;
  EXPECT_EQ(!problem.empty(), hears) << problem;
  if (hears) {
    EXPECT_THAT(problem, HasSubstr("moments-"));
  }
  if (grid.world_rank == 0 && last > 0) {
    EXPECT_THAT(problem, HasSubstr("rank " + std::to_string(last)));
  }
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(CheckpointWriter, WhereNoFolderCanBeMadeTheOthersDoNotWaitForIt) {
  const SharedFolder folder;
  const auto grid = dist::make_grid(test_process(), 1, "cpu", "auto");
  CheckpointWriter writer(grid);
  const auto save = [&](const fs::path& stage) {
    writer.start(stage, state_of(1), {.newest = 1});
    try {
      writer.wait();
      return std::string();
    } catch (const IoError& error) {
      return std::string(error.what());
    }
  };
  EXPECT_EQ(save("/proc/nowhere").empty(), grid.world_rank != 0);
  test_process()->barrier();
  EXPECT_EQ(save(folder.path()), "");  // the next one is not disturbed
  test_process()->barrier();
  EXPECT_EQ(load_training_state(folder.path() / "step-00000001").step, 1);
}

}  // namespace
}  // namespace layalign::trainer
