#pragma once

#include <memory>

#include "configs/schema.h"
#include "dist/process_grid.h"

namespace layalign::launch {

/// Refuses tasks of Slurm that do not know of each other: without PMIx each would train the whole run by itself.
/// Errors: ConfigError with the command that is right.
void check_launcher(const dist::Process& process);

/// Refuses a number of ranks that parallel.tensor does not divide. Errors: ConfigError.
void check_world(const configs::RunConfig& config, int world);

/// The process grid of a config; from here on log lines name the rank.
/// Collectives: those of dist::make_grid; a rank that fails inside it ends the job. Errors: as `together`, for check_world.
dist::ProcessGrid start_grid(const configs::RunConfig& config, const std::shared_ptr<dist::Process>& process);

}  // namespace layalign::launch
