#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "checkpoints_tools/tensor_map.h"

namespace layalign::trainer {

/// What a path of the user's holds.
enum class PlaceKind {
  kFile,        ///< a safetensors file
  kAdapter,     ///< an exported adapter: adapter.safetensors, config.json
  kCheckpoint,  ///< a training checkpoint: step-XXXXXXXX
  kStage,       ///< the folder of a stage: trainables.safetensors, best.safetensors, checkpoints
  kRun,         ///< the output folder of a run: config.yaml, stages
};

/// A path of the user's with what it holds. Touches the disk only to look at names.
class CheckpointPlace {
 public:
  /// Errors: CheckpointError where there is nothing that this program knows, with what it expects.
  explicit CheckpointPlace(std::filesystem::path path);

  const std::filesystem::path& path() const { return path_; }
  PlaceKind kind() const { return kind_; }

  /// The config.yaml of the run that the path is or lies in; empty where it lies in none.
  std::filesystem::path run_config() const;
  /// The output folder of that run; empty likewise.
  std::filesystem::path run() const;
  /// The stage folder that the path is or lies in; empty where there is none.
  std::filesystem::path stage() const;

  /// A run's stage folders by their number; of a stage itself.
  std::vector<std::filesystem::path> stages() const;

  /// The trained weights that are meant: the file; the adapter's or checkpoint's; of a stage its
  /// trainables.safetensors, else its newest checkpoint's; of a run those of its last stage that has ended, else of its
  /// newest checkpoint. Errors: CheckpointError where nothing has been saved yet.
  std::filesystem::path weights() const;

  /// The training checkpoint that is meant: itself, or the newest of the stage or of the run's last stage that has one.
  /// Errors: CheckpointError where there is none.
  std::filesystem::path checkpoint() const;

 private:
  std::filesystem::path path_;
  PlaceKind kind_;
};

/// The tensors of `place.weights()`. Those of a training checkpoint are compared with its manifest first.
/// Errors: CheckpointError.
checkpoints_tools::TensorMap read_weights(const CheckpointPlace& place);

/// The names of an exported adapter's files: the trained weights, what tells what it is, and its model card.
inline constexpr const char* kAdapterWeights = "adapter.safetensors";
inline constexpr const char* kAdapterConfig = "config.json";
inline constexpr const char* kModelCard = "README.md";

/// The LLM layers in the order of the gates, as a file of weights has them with it: the config.json beside an
/// adapter.safetensors, else the file's metadata. Empty where neither tells any. Errors: CheckpointError naming the
/// file that cannot be read.
std::vector<int64_t> recorded_language_layers(const std::filesystem::path& weights);

/// The checkpoints of a stage folder, oldest first. Unfinished ones (.tmp) are none.
std::vector<std::filesystem::path> checkpoints_of(const std::filesystem::path& stage);

/// What the kind is called: "a training checkpoint".
std::string describe(PlaceKind kind);

}  // namespace layalign::trainer
