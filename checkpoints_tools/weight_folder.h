#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "checkpoints_tools/safetensors.h"

namespace layalign::checkpoints_tools {

/// The weights of a Hugging Face model folder: `model.safetensors`, or the shards that `model.safetensors.index.json`
/// lists, as one set of named tensors.
///
/// Every tensor of the index must be in its shard and every tensor of a shard in the index. Shards are plain file names
/// inside the folder (the files themselves may be symbolic links, as in the hub's cache). Pickled weights are never
/// read. Threads: reading is safe from many threads, the first call of `fingerprint` is not.
class WeightFolder {
 public:
  /// Opens and validates every file.
  /// Errors: `CheckpointError` naming the folder or file and what is wrong with it.
  explicit WeightFolder(std::filesystem::path dir);

  const std::filesystem::path& dir() const { return dir_; }
  bool contains(const std::string& name) const { return shard_of_.contains(name); }
  /// All tensor names, sorted.
  std::vector<std::string> names() const;

  /// Errors of these: `CheckpointError` where there is no such tensor; see `SafetensorsFile` for the rest.
  std::vector<int64_t> shape(const std::string& name) const;
  at::Tensor read(const std::string& name) const;
  at::Tensor read_slice(const std::string& name, int64_t dim, int64_t begin, int64_t end) const;
  /// The weight files, in the order of their names.
  std::vector<std::filesystem::path> files() const;
  /// The file that holds the tensor, for messages.
  std::string where(const std::string& name) const;

  /// What tells one set of weights from another: XXH3-128, in hexadecimal, over each file in the order of names: its
  /// name, size, header and content. Of a file above 64 MiB the content is sampled: the first MiB of every 64 MiB and
  /// the last MiB; so a change of a few values inside a big file can go unseen, another training state cannot.
  /// Neither the folder's path nor file times count. Computed at the first call.
  const std::string& fingerprint() const;

 private:
  const SafetensorsFile& shard(const std::string& name) const;
  void open_index(const std::filesystem::path& index);

  std::filesystem::path dir_;
  std::vector<SafetensorsFile> shards_;     // in the order of file names
  std::map<std::string, size_t> shard_of_;  // tensor name -> index in shards_
  mutable std::string fingerprint_;
};

}  // namespace layalign::checkpoints_tools
