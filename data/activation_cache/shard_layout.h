#pragma once

// What stands where in a shard (FORMAT.md), for the code that writes shards and the code that reads them.
// Shape letters: P planes (layers stored), S tokens of a text, R bytes of a row.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "data/activation_cache/cache_form.h"
#include "data/activation_cache/cache_key.h"
#include "data/activation_cache/hdf5_file.h"
#include "data/activation_cache/shard_manifest.h"

namespace layalign::data {

inline constexpr int64_t kStatesAlignment = 4096;

/// The texts of a shard.
struct ShardTexts {
  std::vector<CacheKey> keys;
  std::vector<int64_t> token_offsets;  ///< [texts + 1], tokens
  std::vector<uint32_t> ids;           ///< of all texts, one behind the other

  int64_t texts() const { return static_cast<int64_t>(keys.size()); }
  int64_t tokens() const { return token_offsets.back(); }
  std::span<const uint32_t> ids_of(int64_t text) const;

  bool operator==(const ShardTexts&) const = default;
};

/// The file name of the shard of these keys, without suffix: shard- and 16 hexadecimal digits.
std::string shard_name(std::span<const CacheKey> keys);

/// The front of a shard of these texts, the hashes still 0. Errors: DataError.
Hdf5Front make_shard_front(const CacheForm& form, const ShardTexts& texts);

/// Where the hashes lie in the front.
const Hdf5Dataset& hashes_in(const std::map<std::string, Hdf5Dataset>& datasets);

/// The front of a shard, read.
struct ShardFront {
  ShardTexts texts;
  std::vector<uint64_t> hashes;  ///< [texts, P] XXH3-64 of each plane
  int64_t states_offset = 0;     ///< bytes from the start of the file
  CacheForm form;
};

/// Reads the front of `path` and compares it with what the manifest says; only then is the file given to HDF5, which
/// says what lies where. The numbers are taken from the bytes whose hash was compared. Errors: DataError naming the
/// file, the place and what to do.
ShardFront read_shard_front(const std::filesystem::path& path, const ShardManifest& manifest, const CacheForm& form);

/// The first `bytes` bytes of a file. Errors: DataError naming the file where it is shorter or cannot be read.
std::vector<std::byte> read_front_bytes(const std::filesystem::path& path, int64_t bytes);

}  // namespace layalign::data
