#include "trainer/checkpoint_check.h"

#include "checkpoints_tools/error.h"
#include "checkpoints_tools/safetensors.h"
#include "checkpoints_tools/verification.h"
#include "configs/error.h"
#include "configs/reader.h"
#include "trainer/run_folder.h"
#include "trainer/training_state.h"

namespace layalign::trainer {
namespace {

namespace fs = std::filesystem;

CheckedItem check_checkpoint(const fs::path& folder) {
  CheckedItem item{folder, checkpoints_tools::manifest_problems(folder), ""};
  if (!item.problems.empty()) return item;
  try {
    load_training_state(folder);  // files that are whole can still be of another version, or not belong together
  } catch (const checkpoints_tools::CheckpointError& error) {
    item.problems.emplace_back(error.what());
  }
  return item;
}

CheckedItem check_weights(const fs::path& file) {
  CheckedItem item{file, checkpoints_tools::weights_problems(file), ""};
  if (item.problems.empty() && !checkpoints_tools::SafetensorsFile(file).has_checksum()) {
    item.note = "has no checksum: a changed byte would not be seen";
  }
  return item;
}

/// The files beside an adapter's weights against the checksums in their metadata.
std::vector<CheckedItem> check_companions(const fs::path& weights) {
  std::vector<CheckedItem> items;
  const std::string prefix = checkpoints_tools::kCompanionChecksumPrefix;
  const auto metadata = checkpoints_tools::SafetensorsFile(weights).metadata();
  for (const auto& [key, hash] : metadata) {
    if (!key.starts_with(prefix)) continue;
    const fs::path file = weights.parent_path() / fs::path(key.substr(prefix.size())).filename();
    CheckedItem& item = items.emplace_back(file, std::vector<std::string>{}, "");
    try {
      const std::string wrong = checkpoints_tools::hash_mismatch(file, hash, kAdapterWeights);
      if (!wrong.empty()) {
        item.problems.push_back(file.string() + ": " + wrong + "; unless you have changed it, export the adapter again");
      }
    } catch (const checkpoints_tools::CheckpointError& error) {  // missing, empty, no file
      item.problems.push_back(std::string(error.what()) + "; export the adapter again");
    }
  }
  return items;
}

CheckedItem check_adapter_config(const fs::path& weights) {
  CheckedItem item{weights.parent_path() / kAdapterConfig, {}, ""};
  try {
    recorded_language_layers(weights);
  } catch (const checkpoints_tools::CheckpointError& error) {
    item.problems.emplace_back(error.what());
  }
  return item;
}

std::vector<CheckedItem> check_adapter(const CheckpointPlace& place) {
  const CheckedItem weights = check_weights(place.weights());
  if (!weights.problems.empty()) return {weights};  // its metadata may be what is damaged
  std::vector<CheckedItem> items = check_companions(place.weights());
  const bool has_checksums = !items.empty();  // the exports of earlier versions have none
  if (!has_checksums && fs::exists(place.path() / kAdapterConfig)) items.push_back(check_adapter_config(place.weights()));
  items.insert(items.begin(), weights);
  return items;
}

CheckedItem check_config(const fs::path& file) {
  CheckedItem item{file, {}, ""};
  try {
    configs::load_config(file);
  } catch (const configs::ConfigError& error) {
    item.problems.emplace_back(error.what());
  }
  return item;
}

}  // namespace

std::vector<CheckedItem> check_all(const CheckpointPlace& place) {
  if (place.kind() == PlaceKind::kCheckpoint) return {check_checkpoint(place.path())};
  if (place.kind() == PlaceKind::kFile) return {check_weights(place.weights())};
  if (place.kind() == PlaceKind::kAdapter) return check_adapter(place);
  std::vector<CheckedItem> items;
  if (place.kind() == PlaceKind::kRun) items.push_back(check_config(place.run_config()));
  for (const fs::path& stage : place.stages()) {
    for (const fs::path& checkpoint : checkpoints_of(stage)) items.push_back(check_checkpoint(checkpoint));
    for (const char* name : {RunFolder::kTrainables, RunFolder::kBest}) {
      if (fs::exists(stage / name)) items.push_back(check_weights(stage / name));
    }
  }
  return items;
}

}  // namespace layalign::trainer
