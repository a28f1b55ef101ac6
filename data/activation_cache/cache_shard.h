#pragma once

// Shape letters: P planes (layers stored), S tokens of a text, R bytes of a row.

#include <ATen/ATen.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/activation_cache/cache_form.h"
#include "data/activation_cache/cache_key.h"

namespace layalign::data {

/// Writes one shard: an HDF5 file that is written once, and the manifest beside it, which commits it. FORMAT.md has
/// both. A shard without a manifest does not exist: whenever the process is killed, the cache holds whole shards only.
/// Threads: texts may be written by many threads at once.
/// Errors: checkpoints_tools::IoError with path, bytes asked for and bytes free (a full disk); DataError for texts that
/// make no shard; TORCH_CHECK for wrong rows or a text that was written twice or not at all.
class ShardWriter {
 public:
  /// Makes `folder/shard-NAME.WORD.h5.tmp`, NAME from the keys, with room for all `texts` (ids of each; their keys must
  /// differ). A shard of the same texts that is there is replaced at `commit`.
  ShardWriter(std::filesystem::path folder, const CacheForm& form, std::vector<std::vector<int64_t>> texts);
  ShardWriter(const ShardWriter&) = delete;
  ShardWriter& operator=(const ShardWriter&) = delete;
  /// Without `commit` the temporary file is removed.
  ~ShardWriter();

  /// Stores the states of text `index`: uint8 [P, S, R] on the CPU. Each text once, in any order.
  void write(int64_t index, const at::Tensor& rows);

  /// Makes the shard durable, reads its front back and gives it its name.
  void commit();

  /// Bytes of the whole file.
  int64_t file_bytes() const;
  const std::filesystem::path& path() const;  ///< under its final name

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// A committed shard, open for reading. HDF5 reads its metadata at construction, after size and hash of the file's
/// front were compared with the manifest; the states are read by offset, without HDF5. Threads: all functions may be
/// called from many threads at once.
class Shard {
 public:
  /// `manifest`: the path of shard-NAME.json. `form`: what the shard must hold.
  /// Errors: DataError naming the file and what is wrong with it; IoError where the system does not read it.
  Shard(const std::filesystem::path& manifest, const CacheForm& form);
  Shard(Shard&&) noexcept;
  Shard& operator=(Shard&&) noexcept;
  ~Shard();

  const std::filesystem::path& path() const;
  int64_t texts() const;
  int64_t tokens() const;  ///< of all texts
  int64_t file_bytes() const;
  const CacheKey& key(int64_t text) const;
  int64_t tokens_of(int64_t text) const;
  std::span<const uint32_t> ids(int64_t text) const;
  int64_t block_offset(int64_t text) const;  ///< in the file, bytes

  /// Reads the chosen planes of a text into `target` [planes.size(), S, R], and compares each with its hash.
  /// Errors: DataError naming file, key, layer and byte; also where the file has gone or become shorter. IoError where the system
  /// does not read it.
  void read(int64_t text, std::span<const int64_t> planes, std::span<std::byte> target) const;
  /// The same, the i-th plane to `target + i * stride_bytes`: into the rows of a batch.
  void read(int64_t text, std::span<const int64_t> planes, std::byte* target, int64_t stride_bytes) const;

  /// Reads every byte. Returns what is wrong, a line each; nothing where all is well.
  std::vector<std::string> verify() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace layalign::data
