#include "dist/mpi_mailbox.h"

#include <chrono>
#include <thread>

#include "dist/mpi_backend.h"

namespace layalign::dist {
namespace {

constexpr int kMessageTag = 1;
constexpr auto kMessagePause = std::chrono::milliseconds(1);

}  // namespace

void MpiMailbox::send(int rank, const std::string& message) {
  check_mpi(MPI_Send(message.data(), static_cast<int>(message.size()), MPI_BYTE, rank, kMessageTag, comm_), "MPI_Send");
}

std::string MpiMailbox::receive(int rank) {
  MPI_Status status;
  for (int there = 0;;) {  // MPI_Recv itself would take a whole core
    check_mpi(MPI_Iprobe(rank, kMessageTag, comm_, &there, &status), "MPI_Iprobe");
    if (there != 0) break;
    std::this_thread::sleep_for(kMessagePause);
  }
  int bytes = 0;
  check_mpi(MPI_Get_count(&status, MPI_BYTE, &bytes), "MPI_Get_count");
  std::string message(static_cast<size_t>(bytes), '\0');
  check_mpi(MPI_Recv(message.data(), bytes, MPI_BYTE, rank, kMessageTag, comm_, MPI_STATUS_IGNORE), "MPI_Recv");
  return message;
}

}  // namespace layalign::dist
