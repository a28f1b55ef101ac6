#pragma once

#include <mpi.h>

#include <array>
#include <vector>

#include "dist/notice.h"

namespace layalign::dist {

/// A notice over MPI, on a communicator that carries nothing else.
class MpiNotice : public Notice {
 public:
  /// The communicator stays the caller's. MPI_COMM_NULL: a world of one.
  explicit MpiNotice(MPI_Comm comm);

  void give(const std::string& word) override;
  std::string heard() override;
  void close(const Process& process) override;

 private:
  static constexpr int kBytes = 64;

  void receive();

  MPI_Comm comm_;
  int rank_ = 0, size_ = 1;
  bool given_ = false;
  int received_ = 0;  // words of others
  std::array<char, kBytes> sent_{};
  std::vector<MPI_Request> requests_;
  std::string heard_;
};

}  // namespace layalign::dist
