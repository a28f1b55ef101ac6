#pragma once

#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "dist/agreement.h"
#include "dist/process.h"

namespace layalign::launch {

/// Exit codes of every program.
enum ExitCode : int {
  kDone = 0,
  kOther = 1,
  kUsage = 2,          ///< command line or config
  kBadInput = 65,      ///< a model, corpus or checkpoint that is broken or does not fit
  kCommunication = 70, ///< a dead or disagreeing peer
  kInputOutput = 74,   ///< a full disk, no permission
  kStopped = 75,       ///< saved on a signal or at stop_after: start the same command again
  kDiverged = 76,      ///< NaN or infinity in loss or gradient
};

/// An error that every rank knows of: one rank prints it, all end with its code.
class AgreedFailure : public std::runtime_error {
 public:
  AgreedFailure(const std::string& message, int code) : std::runtime_error(message), code_(code) {}
  int code() const { return code_; }

 private:
  int code_;
};

/// The exit code and the text for a caught exception.
std::pair<int, std::string> describe(const std::exception_ptr& error);

/// Runs `piece` on every rank. If it throws anywhere, every rank throws the same AgreedFailure, which names the ranks where
/// the error was not common to all. `piece` either communicates with all ranks or with none.
/// Collectives: one gather on the control channel.
void together(const dist::Process& process, const std::function<void()>& piece);

/// Compares on all ranks what `topics` gives on each (dist::require_agreement). Errors: as `together`.
void agree_on(const dist::Process& process, const std::function<std::vector<dist::Topic>()>& topics);

/// Runs a whole program: `body`, then a clean end of all ranks. An agreed failure is printed once and ends all ranks cleanly;
/// any other error is printed by its rank and ends all ranks at once. Returns the exit code.
int run_program(const std::function<void(std::shared_ptr<dist::Process>)>& body);

}  // namespace layalign::launch
