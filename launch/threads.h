#pragma once

#include <cstdint>
#include <optional>

#include "dist/process.h"

namespace layalign::launch {

/// Sets LibTorch's threads for this rank and returns their number: `wanted`, else the processors that the launcher bound
/// this rank to, else an equal share of the node's.
int64_t set_up_threads(const dist::Process& process, const std::optional<int64_t>& wanted);

}  // namespace layalign::launch
