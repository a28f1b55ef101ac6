#include "data/activation_cache/shard_manifest.h"

#include <cerrno>
#include <system_error>

#include "checkpoints_tools/error.h"
#include "data/activation_cache/json_file.h"
#include "data/error.h"

namespace layalign::data {

namespace fs = std::filesystem;

ShardManifest read_manifest(const fs::path& path) {
  const JsonFile file(path, kShardFormat, advice_for(shard_of(path)),
                      {"file_bytes", "front_bytes", "front_xxh3", "texts", "tokens"});
  ShardManifest manifest;
  manifest.file_bytes = file.count("file_bytes");
  manifest.front_bytes = file.count("front_bytes");
  manifest.front_xxh3 = file.text("front_xxh3");
  manifest.texts = file.count("texts");
  manifest.tokens = file.count("tokens");
  constexpr int64_t kMost = int64_t{1} << 40;  // products with the bytes of a token stay in 64 bits
  if (manifest.texts < 1 || manifest.tokens < manifest.texts || manifest.tokens > kMost) {
    file.fail(std::to_string(manifest.texts) + " texts of " + std::to_string(manifest.tokens) + " tokens");
  }
  if (manifest.front_bytes >= manifest.file_bytes) file.fail("'front_bytes' is not less than 'file_bytes'");
  return manifest;
}

void write_manifest(const fs::path& path, const ShardManifest& manifest) {
  write_json_file(path, kShardFormat,
                  {{"file_bytes", manifest.file_bytes},
                   {"front_bytes", manifest.front_bytes},
                   {"front_xxh3", manifest.front_xxh3},
                   {"texts", manifest.texts},
                   {"tokens", manifest.tokens}});
}

fs::path manifest_of(const fs::path& shard) { return fs::path(shard).replace_extension(kManifestSuffix); }

fs::path shard_of(const fs::path& manifest) { return fs::path(manifest).replace_extension(kShardSuffix); }

std::string advice_for(const fs::path& shard) {
  return "delete " + shard.filename().string() + " and " + manifest_of(shard).filename().string() +
         " and run layalign-cache build again";
}

bool says_no_file(int error) {
  return error == ENOENT || error == ENOTDIR || error == EISDIR || error == ENXIO || error == EOPNOTSUPP;
}

void refuse_access(const fs::path& shard, const std::string& what, int error) {
  const std::string text = shard.string() + ": " + what + ": " + std::generic_category().message(error);
  if (says_no_file(error)) throw DataError(text + "; " + advice_for(shard));
  throw checkpoints_tools::IoError(text);
}

}  // namespace layalign::data
