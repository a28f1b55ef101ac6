#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "checkpoints_tools/error.h"
#include "trainer/trainables_file.h"

namespace layalign::trainer {

/// All that a resume needs. The order of samples follows from seed, stage and step, so it is not stored.
struct TrainingState {
  int64_t stage_index = 0;                                           ///< 0 for the first
  int64_t step = 0;                                                  ///< steps done in the stage
  double best_perplexity = std::numeric_limits<double>::infinity();  ///< of the stage; infinite before an evaluation
  double best_accuracy = -1;  ///< of the stage, mean of eval.tasks; -1 before a benchmark was scored
  std::string accuracy_rule;  ///< what an accuracy is comparable under: tasks, languages, limits
  at::Tensor masters, exp_avg, exp_avg_sq;  ///< float32 [N]: trainables and AdamW's moments, whole on every rank
  TrainableLayout layout;                   ///< of the three
  std::string encoder_fingerprint, llm_fingerprint;  ///< of the frozen weights
  std::string encoder_weights;  ///< what a cache knows the encoder's weights by; empty without one
  std::string encoder_tokenizer_fingerprint, llm_tokenizer_fingerprint;  ///< empty where no text was read
  std::vector<std::string> corpus_fingerprints;      ///< of the stages' corpora
  std::string cache_choice;  ///< what cache.mode auto chose: "read" or "compute"; empty where it has not
  int64_t skipped_steps = 0;    ///< of those done in the stage: without an update, for loss or gradient was not finite
  bool evaluation_due = false;  ///< what is to be evaluated after `step` was not
  double elapsed_s = 0;                              ///< of training, resumes included
  int64_t world_size = 1, tp_size = 1, threads = 1;  ///< a resume is bit-exact where these are equal
};

/// Which checkpoints of a stage stay.
struct KeepRule {
  int64_t newest = 1;                ///< so many, at least one
  std::optional<int64_t> every = {}; ///< and those whose step is a multiple of this
};

/// What the names of AdamW's moments begin with, before those of the trainables.
inline constexpr const char* kExpAvg = "exp_avg.";
inline constexpr const char* kExpAvgSq = "exp_avg_sq.";

/// Whether a folder's name is that of a checkpoint, step-XXXXXXXX; unfinished ones (.tmp) are none.
bool is_step_folder(const std::string& folder_name);
/// The checkpoints of a stage folder by their step, newest first.
std::map<int64_t, std::filesystem::path, std::greater<>> step_folders(const std::filesystem::path& stage_folder);

/// Writes `STAGE_FOLDER/step-XXXXXXXX/`, then removes those of the stage that `keep` does not name, and those of later steps,
/// which a resume from an earlier one has abandoned.
///
///     trainables.safetensors   the masters by their public names
///     optimizer.safetensors    exp_avg.NAME, exp_avg_sq.NAME
///     state.json               format_version and the scalars
///     manifest.json            size and XXH3-128 of each of the three
///
/// Everything goes to `step-XXXXXXXX.tmp/`, is made durable and renamed: a folder without .tmp is whole, whenever the
/// process is killed. For one rank of the run.
/// Errors: IoError with the path; earlier states are then untouched.
void save_training_state(const std::filesystem::path& stage_folder, const TrainingState& state, const KeepRule& keep);

/// A checkpoint that is whole, but of a format_version that this program does not read.
class OtherVersionError : public checkpoints_tools::CheckpointError {
 public:
  using CheckpointError::CheckpointError;
};

/// Reads a step folder after comparing every file with the manifest.
/// Errors: CheckpointError naming the file and what is wrong with it; OtherVersionError.
TrainingState load_training_state(const std::filesystem::path& step_folder);

/// The newest state that is whole, from the last stage backwards; nothing where there is none. Folders that are damaged
/// are passed over, each with a line in `warnings`.
/// Errors: OtherVersionError, where the newest that is whole is of another version; CheckpointError where all are damaged: a run
/// that began anew would remove them.
std::optional<TrainingState> newest_training_state(const std::vector<std::filesystem::path>& stage_folders,
                                                   std::vector<std::string>* warnings);

}  // namespace layalign::trainer
