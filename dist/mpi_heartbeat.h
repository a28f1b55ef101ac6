#pragma once

#include <mpi.h>

#include <array>

#include "dist/heartbeat.h"

namespace layalign::dist {

/// Heartbeats over MPI, on a communicator that carries nothing else.
/// Errors: CommError.
class MpiHeartbeatChannel : public HeartbeatChannel {
 public:
  /// The communicator stays the caller's.
  explicit MpiHeartbeatChannel(MPI_Comm comm);

  void send(const Heartbeat& beat) override;
  std::vector<Heartbeat> receive() override;
  bool flush(double patience_s) override;

 private:
  /// The way to one observer.
  struct Line {
    int observer = 0;
    Heartbeat beat;  // must not change while it is being sent
    MPI_Request request = MPI_REQUEST_NULL;
  };
  static bool is_sent(Line& line);

  MPI_Comm comm_;
  int rank_ = 0;
  std::array<Line, 2> lines_;
};

}  // namespace layalign::dist
