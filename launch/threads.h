#pragma once

#include <cstdint>
#include <optional>

#include "dist/process.h"

namespace layalign::launch {

/// Sets LibTorch's threads for this rank and returns their number: `wanted`, else OMP_NUM_THREADS, else an equal share of the
/// processors (within a container's quota) that this rank may use with others of its node.
/// Collectives: one gather on the control channel.
int64_t set_up_threads(const dist::Process& process, const std::optional<int64_t>& wanted);

}  // namespace layalign::launch
