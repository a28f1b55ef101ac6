#include "checkpoints_tools/weight_folder.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "checkpoints_tools/hash.h"
#include "checkpoints_tools/mapped_file.h"
#include "checkpoints_tools/safetensors_header.h"
#include "configs/strict_json.h"

namespace layalign::checkpoints_tools {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr size_t kMaxIndexBytes = 100'000'000;

[[noreturn]] void reject_folder(const fs::path& path, const std::string& what) {
  throw CheckpointError(path.string() + ": " + what);
}

/// True for a symbolic link too, wherever it leads: a dangling one is then reported when it is opened.
bool present(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(path, ignored));
}

[[noreturn]] void fail_without_weights(const fs::path& dir) {
  for (const auto& entry : fs::directory_iterator(dir)) {
    const std::string name = entry.path().filename();
    if (name.starts_with("pytorch_model") && name.ends_with(".bin")) {
      reject_folder(
          dir,
          "holds pickled weights (" + name +
              "), which are not read because loading them can run code; convert them once, in the folder of LayAlign: "
              ".venv/bin/python checkpoints_tools/convert_bin.py " +
              dir.string());
    }
  }
  reject_folder(dir,
                std::string("holds no weights: expected ") + kSingleFile + " or " + kIndexFile + " with its shards");
}

/// tensor name -> shard file name, as the index says it.
std::map<std::string, std::string> read_weight_map(const fs::path& path) {
  const MappedFile file(path);
  if (file.bytes().size() > kMaxIndexBytes) {
    reject_folder(path, "has " + std::to_string(file.bytes().size()) + " bytes, too many for an index; copy it again");
  }
  nlohmann::json index;
  try {
    index =
        configs::parse_json({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}, path.string());
  } catch (const std::runtime_error& error) {
    throw CheckpointError(error.what());  // already names the file and the place
  }
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    reject_folder(path, "expected an object with the object 'weight_map'; save the model again");
  }
  std::map<std::string, std::string> weight_map;
  for (const auto& [tensor, shard] : index["weight_map"].items()) {
    if (!shard.is_string()) reject_folder(path, "weight_map: expected a file name for tensor " + in_quotes(tensor));
    const auto& name = shard.get_ref<const std::string&>();
    // A path could lead out of the folder, to any file of this machine.
    if (name.empty() || name == "." || name == ".." || name.find_first_of(std::string_view("/\\\0", 3)) != name.npos) {
      reject_folder(path, "weight_map: the shard " + in_quotes(name) + " of tensor " + in_quotes(tensor) +
                              " is not a plain file name; shards lie in the folder of the index");
    }
    weight_map.emplace(tensor, name);
  }
  if (weight_map.empty()) reject_folder(path, "weight_map is empty; save the model again");
  return weight_map;
}

/// See WeightFolder::fingerprint.
void hash_content(Xxh3& hash, std::span<const std::byte> bytes) {
  constexpr size_t kMiB = size_t{1} << 20;
  constexpr size_t kStride = 64 * kMiB;
  if (bytes.size() <= kStride) return hash.update(bytes);
  for (size_t begin = 0; begin < bytes.size(); begin += kStride) {
    hash.update(bytes.subspan(begin, std::min(kMiB, bytes.size() - begin)));
  }
  hash.update(bytes.last(kMiB));
}

}  // namespace

WeightFolder::WeightFolder(fs::path dir) : dir_(std::move(dir)) {
  std::error_code error;
  if (!fs::is_directory(dir_, error))
    reject_folder(dir_, "is not a folder that exists; expected a Hugging Face model folder");
  // Where a folder holds both forms the single file wins, as in transformers.
  if (present(dir_ / kSingleFile)) {
    shards_.emplace_back(dir_ / kSingleFile);
    for (const auto& [name, info] : shards_[0].tensors()) shard_of_.emplace(name, 0);
  } else if (present(dir_ / kIndexFile)) {
    open_index(dir_ / kIndexFile);
  } else {
    fail_without_weights(dir_);
  }
}

void WeightFolder::open_index(const fs::path& index) {
  const std::map<std::string, std::string> weight_map = read_weight_map(index);
  std::set<std::string> files;
  for (const auto& [name, file] : weight_map) files.insert(file);
  std::map<std::string, size_t> number_of;
  for (const std::string& file : files) {
    if (!present(dir_ / file))
      reject_folder(index, "the shard " + in_quotes(file) + " is missing; download the folder again");
    number_of[file] = shards_.size();
    shards_.emplace_back(dir_ / file);
    for (const auto& [name, info] : shards_.back().tensors()) {
      const auto listed = weight_map.find(name);
      if (listed == weight_map.end() || listed->second != file) {
        reject_folder(index,
                      "the shard " + in_quotes(file) + " holds tensor " + in_quotes(name) + ", which weight_map " +
                          (listed == weight_map.end() ? "does not list" : "says is in " + in_quotes(listed->second)) +
                          "; download the folder again");
      }
    }
  }
  for (const auto& [name, file] : weight_map) {
    const size_t number = number_of.at(file);
    if (!shards_[number].contains(name)) {
      reject_folder(index, "weight_map says that tensor " + in_quotes(name) + " is in " + in_quotes(file) +
                               ", which does not hold it; download the folder again");
    }
    shard_of_.emplace(name, number);
  }
}

const SafetensorsFile& WeightFolder::shard(const std::string& name) const {
  const auto found = shard_of_.find(name);
  if (found == shard_of_.end()) {
    reject_folder(dir_, "has no tensor " + in_quotes(name) + " among its " + std::to_string(shard_of_.size()));
  }
  return shards_[found->second];
}

std::vector<std::string> WeightFolder::names() const {
  std::vector<std::string> names;
  for (const auto& [name, number] : shard_of_) names.push_back(name);
  return names;
}

std::vector<fs::path> WeightFolder::files() const {
  std::vector<fs::path> files;
  for (const SafetensorsFile& shard : shards_) files.push_back(shard.path());
  return files;
}

std::vector<int64_t> WeightFolder::shape(const std::string& name) const { return shard(name).tensors().at(name).shape; }

at::Tensor WeightFolder::read(const std::string& name) const { return shard(name).read(name); }

at::Tensor WeightFolder::read_slice(const std::string& name, int64_t dim, int64_t begin, int64_t end) const {
  return shard(name).read_slice(name, dim, begin, end);
}

std::string WeightFolder::where(const std::string& name) const { return shard(name).path().string(); }

const std::string& WeightFolder::fingerprint() const {
  if (!fingerprint_.empty()) return fingerprint_;
  Xxh3 hash;
  for (const SafetensorsFile& file : shards_) {
    hash.update(file.path().filename().string() + '\n' + std::to_string(file.bytes().size()) + '\n');
    hash.update(file.header());
    hash_content(hash, file.bytes());
  }
  fingerprint_ = hash.hex();
  return fingerprint_;
}

}  // namespace layalign::checkpoints_tools
