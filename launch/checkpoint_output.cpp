#include "launch/checkpoint_output.h"

#include <filesystem>

#include "checkpoints_tools/safetensors.h"
#include "configs/error.h"
#include "trainer/durable_file.h"

namespace layalign::launch {

void check_output_file(const std::string& path, bool force) {
  namespace fs = std::filesystem;
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
