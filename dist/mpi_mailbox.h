#pragma once

#include <mpi.h>

#include "dist/mailbox.h"

namespace layalign::dist {

/// A mailbox over MPI, on a communicator that carries nothing else.
class MpiMailbox : public Mailbox {
 public:
  /// The communicator stays the caller's.
  explicit MpiMailbox(MPI_Comm comm) : comm_(comm) {}

  void send(int rank, const std::string& message) override;
  std::string receive(int rank) override;

 private:
  MPI_Comm comm_;
};

}  // namespace layalign::dist
