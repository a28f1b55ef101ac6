#include "trainer/checkpoint_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoints_tools/file_operations.h"
#include "tests/unit/checkpoints_tools/temporary_folder.h"
#include "tests/unit/trainer/scratch_folder.h"
#include "trainer/error.h"

namespace layalign::trainer {
namespace {

using checkpoints_tools::message_of;
using testing::HasSubstr;

TrainingState state_of(int64_t step) {
  TrainingState state;
  state.step = step;
  state.layout = {{"gates", {3}}};
  state.masters = at::full({3}, static_cast<double>(step));
  state.exp_avg = at::zeros({3});
  state.exp_avg_sq = at::ones({3});
  return state;
}

const dist::ProcessGrid alone;

TEST(CheckpointWriter, WritesWhatTheTensorsHeldWhenItWasCalled) {
  const ScratchFolder folder;
  CheckpointWriter writer(alone);
  for (int64_t step = 1; step <= 5; ++step) {
    const TrainingState state = state_of(step);
    writer.start(folder.path(), state, {.newest = 5});
    state.masters.fill_(-1);  // as the next step of the training does
  }
  writer.wait();
  for (int64_t step = 1; step <= 5; ++step) {
    const auto written = load_training_state(folder / ("step-0000000" + std::to_string(step)));
    EXPECT_TRUE(at::equal(written.masters, state_of(step).masters)) << step;
  }
}

TEST(CheckpointWriter, AnErrorComesWithTheCallAfterIt) {
  const ScratchFolder folder;
  write_bytes(folder / "file", "");  // no folder can be made in it
  const auto nowhere = folder / "file";
  CheckpointWriter writer(alone);
  writer.start(nowhere, state_of(1), {});
  EXPECT_THAT(message_of<IoError>([&] { writer.wait(); }), HasSubstr(nowhere.string()));
  EXPECT_NO_THROW(writer.wait());  // told once

  writer.start(nowhere, state_of(1), {});
  EXPECT_THAT(message_of<IoError>([&] {
                for (;;) writer.check();
              }),
              HasSubstr(nowhere.string()));

  writer.start(nowhere, state_of(1), {});
  EXPECT_THROW(writer.start(folder.path(), state_of(2), {}), IoError);
  writer.start(folder.path(), state_of(2), {});
  writer.wait();
  EXPECT_EQ(load_training_state(folder / "step-00000002").step, 2);
}

}  // namespace
}  // namespace layalign::trainer
