#pragma once

#include <functional>
#include <memory>

#include "dist/process_grid.h"
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
};

/// Reads both models, and makes sure that all ranks have read the same weights.
/// Errors: ModelError, CheckpointError; CommError where the ranks' weights differ.
FrozenModels load_frozen_models(const Experiment& experiment, const dist::ProcessGrid& grid, const Together& together);

}  // namespace layalign::trainer
