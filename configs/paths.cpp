#include "configs/paths.h"

namespace layalign::configs {

std::filesystem::path resolve_path(const std::filesystem::path& path, const std::filesystem::path& config_folder) {
  if (path.is_absolute() || std::filesystem::exists(path)) return path;
  const auto beside = config_folder / path;
  return std::filesystem::exists(beside) ? beside : path;
}

}  // namespace layalign::configs
