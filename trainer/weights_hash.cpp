#include "trainer/weights_hash.h"

#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "checkpoints_tools/hash.h"
#include "checkpoints_tools/mapped_file.h"
#include "checkpoints_tools/weight_folder.h"
#include "configs/strict_json.h"
#include "dist/agreement.h"
#include "trainer/durable_file.h"
#include "trainer/log.h"

namespace layalign::trainer {
namespace {

namespace fs = std::filesystem;
using SortedJson = nlohmann::json;

constexpr uint64_t kPartBytes = uint64_t{64} << 20;

/// What a remembered hash belongs to. The time of the last change of any kind is that of the file itself: a copy may be given the
/// times of its original, but not this one.
SortedJson identity_of(const std::vector<fs::path>& files) {
  SortedJson identity = SortedJson::array();
  for (const fs::path& file : files) {
    struct stat status {};
    if (::stat(file.c_str(), &status) != 0) {
      throw checkpoints_tools::CheckpointError(file.string() + ": cannot be read: " + std::generic_category().message(errno));
    }
    const auto nanoseconds = [](const timespec& time) { return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; };
    identity.push_back({{"name", file.filename().string()},
                        {"path", fs::weakly_canonical(file).string()},
                        {"bytes", status.st_size},
                        {"inode", status.st_ino},
                        {"modified_ns", nanoseconds(status.st_mtim)},
                        {"changed_ns", nanoseconds(status.st_ctim)}});
  }
  return identity;
}

/// The remembered hash; empty where there is none for these files.
std::string remembered(const fs::path& memory, const SortedJson& identity) {
  try {
    const SortedJson json = configs::parse_json(configs::read_text_file(memory), memory.string());
    if (json.at("files") == identity) return json.at("xxh3").get<std::string>();
  } catch (const std::exception&) {  // missing, foreign or damaged: it is computed and written anew
  }
  return "";
}

/// In a folder that is not there (before the first build of a cache) nothing is remembered.
void remember(const fs::path& memory, const SortedJson& identity, const std::string& hash) {
  if (!fs::is_directory(memory.parent_path())) return;
  try {
    write_file_durably(memory, SortedJson{{"files", identity}, {"xxh3", hash}}.dump(2) + "\n");
  } catch (const IoError& error) {
    log_info("the hash of the encoder's weights is not remembered: " + std::string(error.what()));
  }
}

/// Part number -> hash, of the parts that fall to this rank.
SortedJson hash_parts(const std::vector<fs::path>& files, int rank, int ranks) {
  SortedJson hashes = SortedJson::object();
  int64_t part = 0;
  for (const fs::path& path : files) {
    const checkpoints_tools::MappedFile file(path);
    const auto bytes = file.bytes();
    for (uint64_t begin = 0; begin < bytes.size(); begin += kPartBytes, ++part) {
      if (part % ranks != rank) continue;
      const auto size = std::min<uint64_t>(kPartBytes, bytes.size() - begin);
      hashes[std::to_string(part)] = checkpoints_tools::xxh3_hex(bytes.subspan(begin, size));
    }
  }
  return hashes;
}

std::string combine(const SortedJson& identity, const std::vector<std::string>& by_rank) {
  std::map<int64_t, std::string> parts;
  for (const std::string& text : by_rank) {
    const SortedJson hashes = SortedJson::parse(text);  // named: items() does not keep a temporary alive
    for (const auto& [part, hash] : hashes.items()) parts[std::stoll(part)] = hash.get<std::string>();
  }
  checkpoints_tools::Xxh3 hash;
  for (const SortedJson& file : identity) {
    hash.update(file.at("name").get<std::string>() + '\n' + std::to_string(file.at("bytes").get<int64_t>()) + '\n');
  }
  for (const auto& [part, text] : parts) hash.update(text);
  return hash.hex();
}

}  // namespace

std::string hash_weights(const fs::path& model_folder, const fs::path& memory, const dist::Process* process,
                         const Together& together) {
  const int rank = process ? process->world_rank() : 0, ranks = process ? process->world_size() : 1;
  std::vector<fs::path> files;
  SortedJson identity;
  std::string hash, fingerprint;
  together([&] {
    const checkpoints_tools::WeightFolder weights(model_folder);
    files = weights.files();
    fingerprint = weights.fingerprint();
    identity = identity_of(files);
    if (rank == 0) hash = remembered(memory, identity);
  });
  // Ranks on other nodes may have copies of their own, of which each hashes only a part, or none.
  if (process) together([&] { dist::require_agreement(*process, {{"weights of " + model_folder.string(), fingerprint}}); });
  if (process) hash = process->broadcast(hash, 0);
  if (!hash.empty()) return hash;
  std::string mine;
  together([&] { mine = hash_parts(files, rank, ranks).dump(); });
  hash = combine(identity, process ? process->all_gather(mine) : std::vector<std::string>{mine});
  if (rank == 0) remember(memory, identity, hash);
  return hash;
}

std::string hash_config(const fs::path& model_folder) {
  const std::string text = configs::read_text_file(model_folder / "config.json");
  return checkpoints_tools::xxh3_hex(std::as_bytes(std::span(text)));
}

}  // namespace layalign::trainer
