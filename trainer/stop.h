#pragma once

#include <stdexcept>
#include <string>

#include "dist/process.h"

namespace layalign::trainer {

/// What was asked of this process: to end soon, with all it has done saved. Exit code 75: the same command goes on.
class StoppedError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Asks for it, from any thread. `signal`: its number.
void ask_to_stop(int signal) noexcept;

/// The name of the signal that asked; empty: nobody did.
std::string asked_to_stop();

/// Seconds since this process began.
double process_age_s();

/// The first of the ranks' reasons that is not empty; "" where all are. Collectives: one gather on the control channel of `process`,
/// which is null in a world of one.
std::string agreed_reason(const std::string& mine, const dist::Process* process);

/// All ranks, at the same place. Collectives: one gather on the control channel of `process`, which is null in a world of one.
/// Errors: StoppedError on all ranks, where any was asked.
void leave_if_any_is_asked_to_stop(const dist::Process* process);

/// For a rank that has nothing more to do and only waits: tells all ranks where this process was asked.
void tell_if_asked_to_stop(dist::Notice& notice);

/// For work in which the ranks have no step in common: tells all ranks where this process was asked. Errors: StoppedError, where any was.
void leave_if_asked_to_stop(dist::Notice& notice);

}  // namespace layalign::trainer
