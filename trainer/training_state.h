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
  at::Tensor masters, exp_avg, exp_avg_sq;  ///< float32 [N]: trainables and AdamW's moments
  TrainableLayout layout;                   ///< of the three
  std::string encoder_fingerprint, llm_fingerprint;  ///< of the frozen weights
  std::string encoder_weights;  ///< what a cache knows the encoder's weights by; empty without one
  std::string encoder_tokenizer_fingerprint, llm_tokenizer_fingerprint;  ///< empty where no text was read
  std::vector<std::string> model_configs;  ///< hashes of the encoder's and the LLM's config.json; none: unknown
  std::vector<std::string> corpus_fingerprints;      ///< of the stages' corpora
  std::vector<std::string> split_fingerprints;       ///< of their dev splits; none: unknown
  std::string initial_weights;                       ///< hash of those of model.init, or "seed"; empty: unknown
  std::string cache_choice;  ///< what cache.mode auto chose: "read" or "compute"; empty where it has not
  int64_t skipped_steps = 0;    ///< of those done in the stage: without an update, for loss or gradient was not finite
  bool evaluation_due = false;  ///< what is to be evaluated after `step` was not
  double elapsed_s = 0;                              ///< of training, resumes included
  int64_t world_size = 1, tp_size = 1, threads = 1;  ///< a resume is bit-exact where these are equal
  std::string processors;                            ///< and this, the kinds of processor of its ranks; empty: unknown
};

/// Which checkpoints of a stage stay.
struct KeepRule {
  int64_t newest = 1;                ///< so many, at least one
  std::optional<int64_t> every = {}; ///< and those whose step is a multiple of this
};

/// Elements [begin, end) of the N.
struct ElementRange {
  int64_t begin = 0, end = 0;
};

/// The share of `rank` in N elements that `ranks` ranks write.
ElementRange share_of(int64_t numel, int64_t rank, int64_t ranks);

/// A file with a share of the moments, as the manifest lists it.
struct MomentsFile {
  std::string name;
  ElementRange range;
  int64_t bytes = 0;
  std::string xxh3;
};

/// Writes a share of the moments, float32 [end - begin], into the folder of a checkpoint and makes it durable.
/// Errors: IoError with the path.
MomentsFile save_moments(const std::filesystem::path& folder, const at::Tensor& exp_avg, const at::Tensor& exp_avg_sq,
                         ElementRange range, int64_t rank, int64_t ranks);

/// The shares of the moments that other ranks write into a checkpoint.
class OtherShares {
 public:
  virtual ~OtherShares() = default;
  /// The folder is there: the others begin.
  virtual void begin(const std::filesystem::path& folder) = 0;
  /// Waits until all have ended. Errors: IoError where one could not write.
  virtual std::vector<MomentsFile> finish() = 0;
};

/// Whether a folder's name is that of a checkpoint, step-XXXXXXXX; unfinished ones (.tmp) are none.
bool is_step_folder(const std::string& folder_name);
/// The checkpoints of a stage folder by their step, newest first. One that was killed while it took the place of another of its step
/// is found under the name it had at that moment (name_of_replaced).
std::map<int64_t, std::filesystem::path, std::greater<>> step_folders(const std::filesystem::path& stage_folder);

/// Writes `STAGE_FOLDER/step-XXXXXXXX/`, then `latest` beside the stage folders, a hint for people and scripts that no
/// resume follows; then removes those of the stage that `keep` does not name, and those of later steps, which a resume
/// from an earlier one has abandoned.
///
///     trainables.safetensors   the masters by their public names
///     moments-R-of-W.safetensors   a file a rank: exp_avg and exp_avg_sq of its share, [begin, end) of the N elements, which
///                              lie as state.json lists the trainables
///     state.json               format_version and the scalars
///     manifest.json            size and XXH3-128 of each of these, and the share of each file of moments
///
/// Everything goes to `step-XXXXXXXX.tmp/`, is made durable and renamed, and so is what is removed: a folder without
/// .tmp is whole, whenever a process is killed or the power fails; when this returns, no loss of power takes the state
/// away. For the first rank of the run. `others`: null where it writes alone; else `state` holds the first rank's share
/// of the moments. Errors: IoError with the path; earlier states are then untouched.
void save_training_state(const std::filesystem::path& stage_folder, const TrainingState& state, const KeepRule& keep,
                         OtherShares* others = nullptr);

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
