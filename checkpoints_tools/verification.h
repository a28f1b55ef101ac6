#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace layalign::checkpoints_tools {

// Each problem begins with the path that it is about. Nothing is thrown for a bad file, so that all of them are found.

/// What is wrong with a file of weights: its format, and every tensor with NaN or infinite values.
std::vector<std::string> weights_problems(const std::filesystem::path& file);

/// What is wrong with a folder whose manifest.json lists `files`: {NAME: {"bytes": n, "xxh3": "..."}}. Every byte of
/// every listed file is read and compared; a file that is missing or that the manifest does not list is a problem too,
/// and so are weights_problems of the listed .safetensors files.
std::vector<std::string> manifest_problems(const std::filesystem::path& folder);

}  // namespace layalign::checkpoints_tools
