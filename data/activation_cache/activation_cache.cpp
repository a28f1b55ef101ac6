#include "data/activation_cache/activation_cache.h"

#include <unistd.h>

#include <algorithm>
#include <string_view>
#include <system_error>
#include <utility>

#include "checkpoints_tools/error.h"
#include "checkpoints_tools/file_operations.h"
#include "data/activation_cache/folder_lock.h"
#include "data/activation_cache/form_file.h"
#include "data/activation_cache/shard_layout.h"
#include "data/activation_cache/publication.h"
#include "data/error.h"

namespace layalign::data {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> files_of(const fs::path& folder) {
  std::vector<fs::path> files;
  try {
    for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path());
  } catch (const fs::filesystem_error& error) {
    const std::string message = folder.string() + ": cannot list the folder: " + error.code().message();
    if (error.code() == std::errc::no_such_file_or_directory || error.code() == std::errc::not_a_directory) throw DataError(message);
    throw checkpoints_tools::IoError(message);
  }
  std::sort(files.begin(), files.end());
  return files;
}

bool is_manifest(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.starts_with(kShardPrefix) && name.ends_with(kManifestSuffix);
}

/// Whether a killed writer left it: only while nobody writes.
bool is_leftover(const fs::path& path) {
  const std::string name = path.filename().string();
  if (name == std::string(kFormFile) + kTemporarySuffix) return true;
  if (!name.starts_with(kShardPrefix)) return false;
  if (name.ends_with(std::string(kShardSuffix) + kTemporarySuffix)) return true;
  if (name.ends_with(std::string(kManifestSuffix) + kTemporarySuffix)) return true;
  return name.ends_with(kShardSuffix) && !fs::exists(manifest_of(path));
}

void sweep(const fs::path& folder) {
  for (const fs::path& path : files_of(folder)) {
    if (is_leftover(path)) checkpoints_tools::remove_file(path);
  }
}

}  // namespace

ActivationCache::ActivationCache(fs::path folder, const CacheForm& wanted, OnDamage on_damage)
    : folder_(std::move(folder)), form_(read_form(folder_)), on_damage_(on_damage) {
  require_same_form(wanted, form_, folder_);
  refresh();
}

std::unique_ptr<ActivationCache> ActivationCache::none(const CacheForm& form) {
  return std::unique_ptr<ActivationCache>(new ActivationCache(form));
}

void ActivationCache::create(const fs::path& folder, const CacheForm& form) {
  const FolderLock lock = lock_folder(folder);
  try {
    if (lock.descriptor >= 0 || lock.ours) sweep(folder);
    if (fs::exists(folder / kFormFile)) {
      require_same_form(form, read_form(folder), folder);
    } else {
      write_form_file(folder, form);
    }
  } catch (...) {
    if (lock.descriptor >= 0) ::close(lock.descriptor);
    throw;
  }
  if (lock.descriptor >= 0) ::close(lock.descriptor);
}

CacheForm ActivationCache::read_form(const fs::path& folder) { return read_form_file(folder); }

std::optional<CachedText> ActivationCache::find(const CacheKey& key) const {
  const auto found = places_.find(key);
  if (found == places_.end()) return std::nullopt;
  return CachedText{shards_[found->second.first].get(), found->second.second};
}

void ActivationCache::remove_passed_over() {
  if (passed_over_.empty()) return;
  // First, and durably: without its manifest a shard does not exist.
  for (const auto& shard : passed_over_) checkpoints_tools::remove_file(shard.manifest);
  checkpoints_tools::flush_folder_of(passed_over_.front().manifest);
  for (const auto& shard : passed_over_) checkpoints_tools::remove_file(shard_of(shard.manifest));
  passed_over_.clear();
}

bool ActivationCache::open_shard(const fs::path& manifest) {
  try {
    shards_.push_back(std::make_unique<Shard>(manifest, form_));
    return true;
  } catch (const DataError& error) {
    if (on_damage_ == OnDamage::kRefuse) throw;
    passed_over_.push_back({manifest, error.what()});
    return false;
  }
}

void ActivationCache::refresh() {
  const Publication alone(folder_, Publication::Purpose::kLook);
  std::vector<std::pair<fs::file_time_type, fs::path>> fresh;
  for (const fs::path& path : files_of(folder_)) {
    if (!is_manifest(path)) continue;
    std::error_code error;
    const auto time = fs::last_write_time(path, error);
    if (error == std::errc::no_such_file_or_directory) continue;  // being replaced just now
    if (error) throw checkpoints_tools::IoError(path.string() + ": cannot be looked at: " + error.message());
    const auto known = opened_.find(path.filename().string());
    if (known == opened_.end() || known->second != time) fresh.emplace_back(time, path);
  }
  std::sort(fresh.begin(), fresh.end());
  for (const auto& [time, path] : fresh) {
    const bool passed_over = !open_shard(path);
    opened_[path.filename().string()] = time;
    if (passed_over) continue;
    const auto shard = static_cast<int64_t>(shards_.size()) - 1;
    for (int64_t text = 0; text < shards_.back()->texts(); ++text) {
      places_[shards_.back()->key(text)] = {shard, text};
    }
  }
}

}  // namespace layalign::data
