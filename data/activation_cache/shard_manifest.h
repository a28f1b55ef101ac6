#pragma once

// The manifest beside a shard (FORMAT.md), and what errors say about the two. Without HDF5.

#include <cstdint>
#include <filesystem>
#include <string>

namespace layalign::data {

/// The version of everything in FORMAT.md: shards, manifests and cache.json.
inline constexpr int64_t kCacheVersion = 1;

inline constexpr const char* kShardFormat = "layalign activation cache shard";

inline constexpr const char* kShardPrefix = "shard-";
inline constexpr const char* kShardSuffix = ".h5";
inline constexpr const char* kManifestSuffix = ".json";
inline constexpr const char* kTemporarySuffix = ".tmp";

/// What a manifest says. A shard exists where its manifest does.
struct ShardManifest {
  int64_t file_bytes = 0;
  int64_t front_bytes = 0;  ///< everything before the states
  std::string front_xxh3;   ///< XXH3-128 of the front
  int64_t texts = 0, tokens = 0;

  bool operator==(const ShardManifest&) const = default;
};

/// Errors: DataError naming file and field; checkpoints_tools::IoError.
ShardManifest read_manifest(const std::filesystem::path& path);
void write_manifest(const std::filesystem::path& path, const ShardManifest& manifest);

/// The paths of a shard by each other.
std::filesystem::path manifest_of(const std::filesystem::path& shard);
std::filesystem::path shard_of(const std::filesystem::path& manifest);

/// What to do about a damaged shard: the end of messages.
std::string advice_for(const std::filesystem::path& shard);

/// Whether an errno says that there is no file: it has gone, or is a folder, a pipe, a socket.
bool says_no_file(int error);

/// The system has refused `what` ("cannot be opened") with an errno.
/// Errors: DataError with the advice for a file that has gone; IoError for any other reason: it may be whole.
[[noreturn]] void refuse_access(const std::filesystem::path& shard, const std::string& what, int error);

}  // namespace layalign::data
