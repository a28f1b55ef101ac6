#pragma once

#include <functional>
#include <memory>

#include "data/activation_cache/activation_cache.h"
#include "dist/process_grid.h"
#include "model/cached_encoder.h"
#include "model/encoder.h"
#include "model/llm.h"
#include "trainer/experiment.h"

namespace layalign::trainer {

/// Runs a piece of set-up on every rank; if it throws on one rank, all ranks throw alike. Injected by `launch`, which knows
/// how errors become messages and exit codes.
using Together = std::function<void(const std::function<void()>&)>;

/// The frozen models of a run in this rank's memory.
struct FrozenModels {
  std::unique_ptr<model::Encoder> encoder;
  std::unique_ptr<model::Llm> llm;
  model::CachedEncoder* cache = nullptr;           ///< `encoder`, where a cache stands before it
  std::unique_ptr<data::CacheWriteLock> cache_lock;  ///< of the first rank of a run that adds to its cache
};

/// Reads both models, opens the cache where the config asks for one, and makes sure that all ranks have read the same weights.
/// Errors: ModelError, CheckpointError (also for weights that are not finite), DataError; CommError where the ranks' weights or shards differ.
FrozenModels load_frozen_models(const Experiment& experiment, const dist::ProcessGrid& grid, const Together& together);

}  // namespace layalign::trainer
