#pragma once

#include <memory>

#include "configs/schema.h"
#include "dist/process_grid.h"
#include "dist/watchdog.h"

namespace layalign::launch {

/// Refuses a number of ranks that parallel.tensor does not divide. Errors: ConfigError.
void check_world(const configs::RunConfig& config, int world);

/// The process grid of a config; from here on log lines name the rank. `watchdog`, where there is one, guards its communicators.
/// Collectives: those of dist::make_grid; a rank that fails inside it ends the job. Errors: as `together`, for check_world.
dist::ProcessGrid start_grid(const configs::RunConfig& config, const std::shared_ptr<dist::Process>& process,
                             dist::Watchdog* watchdog);

}  // namespace layalign::launch
