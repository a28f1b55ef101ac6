#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data/activation_cache/activation_cache.h"
#include "dist/process_grid.h"
#include "trainer/experiment.h"
#include "trainer/frozen_models.h"

namespace layalign::trainer {

/// A text to be encoded, and a sample that has it.
struct PlannedText {
  data::CacheKey key;
  int64_t tokens = 0;
  int64_t source = 0;  ///< a stage, or behind those a benchmark of eval.tasks
  int64_t sample = 0;  ///< of it
};

/// What a build will do, the same on every rank.
struct CachePlan {
  std::vector<std::vector<PlannedText>> shards;  ///< what is missing: short texts first, a shard within cache.shard_bytes
  int64_t samples = 0;                           ///< of all stages and benchmarks
  int64_t sample_tokens = 0;                     ///< their source tokens
  int64_t texts = 0, tokens = 0;                 ///< different ones
  int64_t cached_texts = 0;                      ///< of those, what the cache holds already
  int64_t missing_tokens = 0, missing_bytes = 0;  ///< of the states
  int64_t file_bytes = 0;                         ///< of the shards as files, at most

  /// Of the shards and their texts: ranks that saw the folder differently have another one.
  std::string fingerprint() const;
};

/// Finds the different source texts of all stages, their held-out samples too, and of the questions of eval.tasks, and cuts what is
/// missing into shards. The ranks share the tokenisation.
/// Collectives: a gather on the control channel. Errors: those of `together`.
CachePlan plan_cache(const Experiment& experiment, const data::CacheForm& form, const data::ActivationCache& cache,
                     const dist::Process* process, const Together& together);

/// Where the encoder's batch ends that begins with text `begin` of a shard.
size_t encoder_batch_end(const std::vector<PlannedText>& texts, size_t begin);

/// Refuses a build that the disk has no room for. Errors: IoError with the bytes needed and free.
void check_space(const CachePlan& plan, const std::filesystem::path& folder);

/// The plan for people: texts, tokens, bytes, what the cache saves by storing equal texts once.
std::string cache_plan_text(const CachePlan& plan, const std::filesystem::path& folder);

/// What a rank has built.
struct CacheBuildTimes {
  int64_t texts = 0, tokens = 0, bytes = 0;
  double encoder_s = 0;  ///< in the encoder
  double total_s = 0;    ///< without loading the encoder
};

/// Encodes what is missing and writes it: the ranks share the shards, each encodes batches of texts of like length and stores them, on a
/// GPU while the next one is encoded. Killed and started again it goes on with the shards that are not finished. `stop`: where ranks that are asked
/// to stop tell the others.
/// Errors: DataError for states that cannot be stored; IoError; StoppedError, with the finished shards kept.
CacheBuildTimes build_cache(const Experiment& experiment, const data::CacheForm& form, const CachePlan& plan,
                            const std::filesystem::path& folder, const dist::ProcessGrid& grid, dist::Notice& stop);

/// Looks for every text of the plan in the cache that was opened after the build. Errors: DataError saying how many are missing.
void check_built(const CachePlan& plan, const data::ActivationCache& cache);

}  // namespace layalign::trainer
