#pragma once

#include <filesystem>
#include <future>
#include <memory>

#include "dist/process_grid.h"
#include "trainer/training_state.h"

namespace layalign::trainer {

/// Writes training states behind the training, in a thread of each rank, one state at a time: the first rank makes the folder, every
/// rank writes its share of the moments, the first one commits. Only the threads wait for each other.
/// Threads: all calls from one. Errors: IoError of a state that could not be written, from the call after it, on the rank that could
/// not write and on the first one.
class CheckpointWriter {
 public:
  /// Keeps a reference. Collectives: one on the control channel.
  explicit CheckpointWriter(const dist::ProcessGrid& grid);
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;
  /// Waits for what is being written; its error is lost.
  ~CheckpointWriter();

  /// All ranks at the same step: takes copies of what this rank writes, then begins to. `state`: whole, the same on all ranks; only the
  /// first rank's scalars are written (save_training_state). Waits for the one before.
  void start(const std::filesystem::path& stage_folder, TrainingState state, const KeepRule& keep);
  /// Returns at once; throws where a state that has ended meanwhile was not written.
  void check();
  /// Waits until nothing is being written.
  void wait();

 private:
  class Shares;
  void write_share(const TrainingState& state, ElementRange range) const;

  const dist::ProcessGrid& grid_;
  std::unique_ptr<dist::Mailbox> mailbox_;  // null for a rank that is alone
  std::future<void> writing_;               // its destructor waits
};

}  // namespace layalign::trainer
