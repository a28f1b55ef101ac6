#include "launch/checkpoint_output.h"

#include <filesystem>

#include "checkpoints_tools/safetensors.h"
#include "configs/error.h"
#include "trainer/durable_file.h"
#include "trainer/training_state.h"

namespace layalign::launch {

namespace fs = std::filesystem;

void check_outside_checkpoints(const std::string& path) {
  const fs::path whole = fs::weakly_canonical(path);  // a link may lead into a checkpoint
  for (fs::path folder = whole.parent_path(); folder != folder.parent_path(); folder = folder.parent_path()) {
    if (!trainer::is_step_folder(folder.filename().string())) continue;
    throw configs::ConfigError(path + ": lies in the training checkpoint " + folder.string() +
                               ", in which nothing is ever written or replaced; choose another -o");
  }
}

void check_output_file(const std::string& path, bool force) {
  check_outside_checkpoints(path);
  if (fs::is_directory(path)) {
    throw configs::ConfigError(path + ": is a folder; -o takes the name of a file, such as " +
                               (fs::path(path) / "weights.safetensors").string());
  }
  if (!force && fs::exists(path))
    throw configs::ConfigError(path + ": exists already; choose another -o, or add --force");
}

void write_output_file(const std::string& path, const checkpoints_tools::TensorMap& tensors,
                       const std::map<std::string, std::string>& metadata) {
  trainer::as_io_error(
      [&] { checkpoints_tools::write_safetensors(path, checkpoints_tools::as_list(tensors), metadata); });
}

}  // namespace layalign::launch
