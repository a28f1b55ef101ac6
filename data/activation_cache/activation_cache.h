#pragma once

// Shape letters: P planes (layers stored), S tokens, R bytes of a row.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "data/activation_cache/cache_form.h"
#include "data/activation_cache/cache_key.h"
#include "data/activation_cache/cache_shard.h"

namespace layalign::data {

/// Where the states of a text lie.
struct CachedText {
  const Shard* shard = nullptr;
  int64_t text = 0;  ///< index in the shard

  int64_t tokens() const { return shard->tokens_of(text); }
};

/// A folder of shards: the encoder's per-layer states of texts, by the key of their ids. FORMAT.md describes the files.
/// Threads: reading from many threads at once; `refresh` alone.
class ActivationCache {
 public:
  /// What is done about a shard that cannot be opened: its front is damaged, or the file has gone.
  enum class OnDamage { kRefuse, kPassOver };

  /// Opens what is there. Errors: DataError where the folder is no cache, its form is not `wanted`, or a shard is
  /// damaged; IoError where the system does not read one.
  ActivationCache(std::filesystem::path folder, const CacheForm& wanted, OnDamage on_damage = OnDamage::kRefuse);

  /// A cache that holds nothing and has no folder.
  static std::unique_ptr<ActivationCache> none(const CacheForm& form);

  /// Makes the folder and its cache.json, or compares the form of one that is there; removes what killed writers left:
  /// temporary files, and shards without a manifest (only where no other process holds the folder's lock). One process
  /// calls it, before the others open. Errors: DataError for another form; checkpoints_tools::IoError.
  static void create(const std::filesystem::path& folder, const CacheForm& form);
  /// The form of a cache, for `layalign-cache info`. Errors: DataError naming the file and what to do.
  static CacheForm read_form(const std::filesystem::path& folder);

  const std::filesystem::path& folder() const { return folder_; }
  const CacheForm& form() const { return form_; }
  const std::vector<std::unique_ptr<Shard>>& shards() const { return shards_; }

  /// A damaged shard that was passed over: its manifest, and what is wrong.
  struct PassedOver {
    std::filesystem::path manifest;
    std::string problem;
  };
  const std::vector<PassedOver>& passed_over() const { return passed_over_; }

  /// Removes their files. For the process that holds the folder's lock. Errors: checkpoints_tools::IoError.
  void remove_passed_over();

  std::optional<CachedText> find(const CacheKey& key) const;
  int64_t texts() const { return static_cast<int64_t>(places_.size()); }

  /// Opens the shards that were committed since. Where a text stands in several shards, the last committed one counts.
  /// Errors: DataError where one is damaged and not passed over; IoError.
  void refresh();

 private:
  explicit ActivationCache(const CacheForm& form) : form_(form) {}
  /// False where it is passed over.
  bool open_shard(const std::filesystem::path& manifest);

  std::filesystem::path folder_;
  CacheForm form_;
  OnDamage on_damage_ = OnDamage::kRefuse;
  std::vector<PassedOver> passed_over_;
  std::vector<std::unique_ptr<Shard>> shards_;  // at fixed addresses: CachedText points to them
  std::unordered_map<std::string, std::filesystem::file_time_type> opened_;  // manifests, and when they were written
  std::unordered_map<CacheKey, std::pair<int64_t, int64_t>> places_;         // shard and text
};

/// Keeps a second writer out of a cache folder: a lock on `folder/.lock`, gone with its process.
class CacheWriteLock {
 public:
  /// Errors: DataError naming who holds it.
  explicit CacheWriteLock(const std::filesystem::path& folder);
  CacheWriteLock(const CacheWriteLock&) = delete;
  CacheWriteLock& operator=(const CacheWriteLock&) = delete;
  ~CacheWriteLock();

  /// What the user should know where the file system has no locks, and other writers are not kept out; else empty.
  const std::string& warning() const { return warning_; }

 private:
  int descriptor_ = -1;
  std::string warning_;
};

}  // namespace layalign::data
