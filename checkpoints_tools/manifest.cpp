#include "checkpoints_tools/verification.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "checkpoints_tools/error.h"
#include "checkpoints_tools/hash.h"
#include "checkpoints_tools/mapped_file.h"
#include "checkpoints_tools/safetensors_header.h"
#include "configs/strict_json.h"

// The part of verification.h that needs no LibTorch.
namespace layalign::checkpoints_tools {
namespace {

namespace fs = std::filesystem;

constexpr const char* kManifest = "manifest.json";

void check_listed(const fs::path& folder, const std::string& name, const nlohmann::json& entry,
                  std::vector<std::string>& problems) {
  const fs::path path = folder / name;
  if (fs::path(name).filename() != name || name == "." || name == "..") {
    problems.push_back((folder / kManifest).string() + ": " + in_quotes(name) +
                       " is not the name of a file in the folder");
    return;
  }
  try {
    const std::string wrong = manifest_mismatch(path, entry);
    if (!wrong.empty()) return problems.push_back(path.string() + ": " + wrong);
  } catch (const CheckpointError& error) {
    return problems.push_back(error.what());
  } catch (const std::system_error& error) {
    return problems.push_back(path.string() + ": cannot be read: " + error.code().message());
  } catch (const nlohmann::json::exception&) {
    return problems.push_back((folder / kManifest).string() + ": the entry of " + in_quotes(name) +
                              " lacks 'bytes' or 'xxh3'");
  }
  if (path.extension() != ".safetensors") return;
  const std::vector<std::string> weights = weights_problems(path);
  problems.insert(problems.end(), weights.begin(), weights.end());
}

}  // namespace

std::string hash_mismatch(const fs::path& path, const std::string& xxh3, const std::string& said_by) {
  const std::string got = xxh3_hex(MappedFile(path).bytes());
  return got == xxh3 ? "" : "damaged: its XXH3-128 is " + got + ", " + said_by + " says " + xxh3;
}

std::string manifest_mismatch(const fs::path& path, const nlohmann::json& entry) {
  if (!fs::exists(path)) return "missing, but the manifest lists it";
  const auto bytes = entry.at("bytes").get<uint64_t>();
  const auto hash = entry.at("xxh3").get<std::string>();
  if (const uint64_t size = fs::file_size(path); size != bytes) {
    return "damaged: has " + std::to_string(size) + " bytes, the manifest says " + std::to_string(bytes) +
           (size < bytes ? ": truncated" : "");
  }
  return hash_mismatch(path, hash, "the manifest");
}

std::vector<std::string> manifest_problems(const fs::path& folder) {
  const fs::path path = folder / kManifest;
  nlohmann::json files;
  try {
    files = configs::parse_json(configs::read_text_file(path), path.string()).at("files");
    if (!files.is_object() || files.empty()) return {path.string() + ": 'files' lists no files"};
  } catch (const nlohmann::json::exception&) {
    return {path.string() + ": expected an object with 'files'"};
  } catch (const std::runtime_error& error) {  // of the system or of the JSON, with the path
    return {error.what()};
  }
  std::vector<std::string> problems;
  for (const auto& [name, entry] : files.items()) check_listed(folder, name, entry, problems);
  std::vector<std::string> unlisted;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name != kManifest && !files.contains(name)) {
      unlisted.push_back(entry.path().string() + ": is not listed in the manifest; move it away");
    }
  }
  std::ranges::sort(unlisted);
  problems.insert(problems.end(), unlisted.begin(), unlisted.end());
  return problems;
}

}  // namespace layalign::checkpoints_tools
