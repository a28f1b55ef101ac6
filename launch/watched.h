#pragma once

#include <functional>
#include <memory>

#include "configs/schema.h"
#include "dist/process.h"
#include "dist/watchdog.h"

namespace layalign::launch {

/// Runs `body` on every rank under a watchdog with the limits of the config. Where it ends on all ranks alike, by an agreed
/// error too, the watchdogs end together; where it throws on some rank alone, this rank ends the job soon.
/// Collectives: those of the watchdog.
void with_watchdog(const std::shared_ptr<dist::Process>& process, const configs::WatchdogConfig& limits,
                   const std::function<void(dist::Watchdog&)>& body);

}  // namespace layalign::launch
