#include "trainer/checkpoint_place.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "checkpoints_tools/error.h"
#include "checkpoints_tools/foreign_weights.h"
#include "configs/strict_json.h"
#include "trainer/run_folder.h"
#include "trainer/trainables_file.h"
#include "trainer/training_state.h"

namespace layalign::trainer {
namespace {

namespace fs = std::filesystem;
using checkpoints_tools::CheckpointError;


/// Without dots and a slash at its end, so that its parents are those on the disk.
fs::path whole_path(const fs::path& path) {
  const fs::path whole = fs::absolute(path).lexically_normal();
  return whole.has_filename() ? whole : whole.parent_path();
}

PlaceKind kind_of(const fs::path& path) {
  if (!fs::exists(path)) throw CheckpointError(path.string() + ": does not exist");
  if (!fs::is_directory(path)) return PlaceKind::kFile;
  const std::string name = whole_path(path).filename().string();
  if (name.ends_with(".tmp")) {
    throw CheckpointError(path.string() + ": was never finished (its name ends in .tmp); take another checkpoint");
  }
  if (is_step_folder(name) || fs::exists(path / "manifest.json")) return PlaceKind::kCheckpoint;
  if (fs::exists(path / kAdapterWeights)) return PlaceKind::kAdapter;
  if (fs::exists(path / RunFolder::kConfig)) return PlaceKind::kRun;
  if (fs::exists(path / RunFolder::kTrainables) || !checkpoints_of(path).empty() ||
      stage_number(whole_path(path).filename().string()) > 0) {
    return PlaceKind::kStage;
  }
  throw CheckpointError(
      path.string() +
      ": holds nothing of layalign; expected a safetensors file, a checkpoint (step-XXXXXXXX), the folder of "
      "a stage (1-NAME), the output folder of a run (config.yaml) or an exported adapter");
}

}  // namespace

CheckpointPlace::CheckpointPlace(fs::path path) : path_(std::move(path)), kind_(kind_of(path_)) {}

fs::path CheckpointPlace::stage() const {
  if (kind_ == PlaceKind::kStage) return path_;
  if (kind_ == PlaceKind::kRun || kind_ == PlaceKind::kAdapter) return {};
  fs::path parent = whole_path(path_).parent_path();
  if (is_step_folder(parent.filename().string())) parent = parent.parent_path();  // a file of a checkpoint
  return stage_number(parent.filename().string()) > 0 ? parent : fs::path();
}

fs::path CheckpointPlace::run() const {
  if (kind_ == PlaceKind::kRun) return path_;
  const fs::path folder = stage();
  if (folder.empty()) return {};
  const fs::path parent = whole_path(folder).parent_path();
  return fs::exists(parent / RunFolder::kConfig) ? parent : fs::path();
}

fs::path CheckpointPlace::run_config() const {
  const fs::path folder = run();
  return folder.empty() ? fs::path() : folder / RunFolder::kConfig;
}

std::vector<fs::path> CheckpointPlace::stages() const {
  if (kind_ == PlaceKind::kStage) return {path_};
  if (kind_ != PlaceKind::kRun) return {};
  std::vector<fs::path> folders;
  for (const auto& [number, folder] : stage_folders(path_)) folders.push_back(folder);
  return folders;
}

fs::path CheckpointPlace::weights() const {
  if (kind_ == PlaceKind::kFile) return path_;
  if (kind_ == PlaceKind::kAdapter) return path_ / kAdapterWeights;
  if (kind_ == PlaceKind::kCheckpoint) return path_ / RunFolder::kTrainables;
  const std::vector<fs::path> folders = stages();
  const bool ended =
      std::ranges::any_of(folders, [](const fs::path& stage) { return fs::exists(stage / RunFolder::kTrainables); });
  return ended ? find_trainables(path_).file : checkpoint() / RunFolder::kTrainables;
}

fs::path CheckpointPlace::checkpoint() const {
  if (kind_ == PlaceKind::kCheckpoint) return path_;
  const std::vector<fs::path> folders = stages();
  for (auto folder = folders.rbegin(); folder != folders.rend(); ++folder) {
    const std::vector<fs::path> checkpoints = checkpoints_of(*folder);
    if (!checkpoints.empty()) return checkpoints.back();
  }
  throw CheckpointError(path_.string() + ": " + describe(kind_) + " without a training checkpoint (step-XXXXXXXX)");
}

checkpoints_tools::TensorMap read_weights(const CheckpointPlace& place) {
  const fs::path file = place.weights();
  if (is_step_folder(file.parent_path().filename().string())) load_training_state(file.parent_path());
  return checkpoints_tools::read_tensors(file);
}

std::vector<int64_t> recorded_language_layers(const fs::path& weights) {
  const fs::path path = weights.parent_path() / kAdapterConfig;
  if (weights.filename() != kAdapterWeights || !fs::exists(path)) return checkpoints_tools::language_layers_of(weights);
  try {
    const nlohmann::json config = configs::parse_json(configs::read_text_file(path), path.string());
    return config.is_object() ? config.value("language_layers", std::vector<int64_t>{}) : std::vector<int64_t>{};
  } catch (const nlohmann::json::exception&) {
    throw CheckpointError(path.string() + ": 'language_layers': expected an array of layers; export the adapter again");
  } catch (const std::runtime_error& error) {  // of the system or of the JSON, with the path
    throw CheckpointError(error.what());
  }
}

std::vector<fs::path> checkpoints_of(const fs::path& stage) {
  std::vector<fs::path> found;
  for (const auto& [step, folder] : step_folders(stage)) found.insert(found.begin(), folder);
  return found;
}

std::string describe(PlaceKind kind) {
  switch (kind) {
    case PlaceKind::kFile:
      return "a file of weights";
    case PlaceKind::kAdapter:
      return "an exported adapter";
    case PlaceKind::kCheckpoint:
      return "a training checkpoint";
    case PlaceKind::kStage:
      return "the folder of a stage";
    case PlaceKind::kRun:
      return "the output folder of a run";
  }
  return "";
}

}  // namespace layalign::trainer
