#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "data/activation_cache/activation_cache.h"
#include "model/cached_encoder.h"
#include "trainer/frozen_models.h"

namespace layalign::trainer {

/// The folder of cache.path. Errors: ConfigError where the config has none.
std::filesystem::path cache_folder(const configs::RunConfig& config);

/// What a cache for this experiment holds: hashes the encoder's weights, which the folder's weights.json remembers. In mode
/// read the weights need not be there: then the cache's own word is taken, with a warning.
/// Collectives: those of hash_weights. Errors: those of `together`.
data::CacheForm cache_form(const Experiment& experiment, const dist::Process* process, const Together& together);

/// The encoder behind its cache, as cache.mode says; mode auto does without a cache where there is none.
/// `lock`: held by the first rank of a run that adds to the cache.
/// Collectives: on the control channel. Errors: those of `together`; CommError where the ranks see other shards.
std::unique_ptr<model::CachedEncoder> open_cached_encoder(const Experiment& experiment, const dist::ProcessGrid& grid,
                                                          const Together& together,
                                                          std::unique_ptr<data::CacheWriteLock>* lock);

}  // namespace layalign::trainer
