#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace layalign::checkpoints_tools {

// Each problem begins with the path that it is about. Nothing is thrown for a bad file, so that all of them are found.

/// What is wrong with a file of weights: its format, and every tensor with NaN or infinite values.
std::vector<std::string> weights_problems(const std::filesystem::path& file);

/// Empty where a file has this XXH3-128, else both, and who says so. Does not begin with the path. Errors: CheckpointError
/// where the file is missing, empty or cannot be read.
std::string hash_mismatch(const std::filesystem::path& file, const std::string& xxh3, const std::string& said_by);

/// What differs between a file and its entry {"bytes": n, "xxh3": "..."} in a manifest; empty where nothing does. Does not
/// begin with the path. Errors: CheckpointError, std::system_error, and those of the JSON library for another entry.
std::string manifest_mismatch(const std::filesystem::path& file, const nlohmann::json& entry);

/// What is wrong with a folder whose manifest.json lists `files`: {NAME: {"bytes": n, "xxh3": "..."}}. Every byte of
/// every listed file is read and compared; a file that is missing or that the manifest does not list is a problem too,
/// and so are weights_problems of the listed .safetensors files.
std::vector<std::string> manifest_problems(const std::filesystem::path& folder);

}  // namespace layalign::checkpoints_tools
