#pragma once

#include <filesystem>

namespace layalign::configs {

/// A path of a config: as it stands (from the working folder), or beside the config file where it does not exist there.
std::filesystem::path resolve_path(const std::filesystem::path& path, const std::filesystem::path& config_folder);

}  // namespace layalign::configs
