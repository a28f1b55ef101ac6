#pragma once

#include <string>

namespace layalign::dist {

/// Short messages from rank to rank beside whatever the ranks do together: for threads that work behind the training.
/// Threads: one a rank, beside any other use of MPI. Errors: CommError.
class Mailbox {
 public:
  virtual ~Mailbox() = default;

  /// Sends a message; messages to one rank arrive in order. May wait until the receiver asks for it.
  virtual void send(int rank, const std::string& message) = 0;
  /// The next message of a rank; waits for it, asleep.
  virtual std::string receive(int rank) = 0;
};

}  // namespace layalign::dist
