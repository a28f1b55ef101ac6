#pragma once

namespace layalign::launch {

/// While it lives, SIGTERM, SIGUSR1 and SIGINT only ask for a stop (trainer/stop.h), a second SIGINT ends the process at once.
/// Outside they do what they always do.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
};

}  // namespace layalign::launch
