#pragma once

#include <filesystem>
#include <future>

#include "trainer/training_state.h"

namespace layalign::trainer {

/// Writes training states in a thread of its own, one at a time, while the training goes on.
/// Threads: all calls from one. Errors: IoError of a state that could not be written, from the call after it.
class CheckpointWriter {
 public:
  CheckpointWriter() = default;
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;
  /// Waits for what is being written; its error is lost.
  ~CheckpointWriter() = default;

  /// Takes copies of the state's tensors, then begins to write (save_training_state). Waits for the one before.
  void start(const std::filesystem::path& stage_folder, TrainingState state, const KeepRule& keep);
  /// Returns at once; throws where a state that has ended meanwhile was not written.
  void check();
  /// Waits until nothing is being written.
  void wait();

 private:
  std::future<void> writing_;  // its destructor waits
};

}  // namespace layalign::trainer
