#pragma once

#include <chrono>

namespace layalign::model {

using Clock = std::chrono::steady_clock;

/// Wall-clock seconds that have passed.
inline double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

}  // namespace layalign::model
