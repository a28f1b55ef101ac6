#include "dist/mpi_notice.h"

#include <algorithm>

#include "dist/mpi_backend.h"
#include "dist/process.h"

namespace layalign::dist {

MpiNotice::MpiNotice(MPI_Comm comm) : comm_(comm) {
  if (comm_ == MPI_COMM_NULL) return;
  check_mpi(MPI_Comm_rank(comm_, &rank_), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(comm_, &size_), "MPI_Comm_size");
}

void MpiNotice::give(const std::string& word) {
  if (given_) return;
  given_ = true;
  word.copy(sent_.data(), kBytes - 1);
  if (heard_.empty()) heard_ = sent_.data();
  for (int rank = 0; rank < size_; ++rank) {
    if (rank == rank_) continue;
    requests_.push_back(MPI_REQUEST_NULL);
    check_mpi(MPI_Isend(sent_.data(), kBytes, MPI_BYTE, rank, 0, comm_, &requests_.back()), "MPI_Isend");
  }
}

std::string MpiNotice::heard() {
  int there = 1;
  while (comm_ != MPI_COMM_NULL && there != 0) {
    check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, 0, comm_, &there, MPI_STATUS_IGNORE), "MPI_Iprobe");
    if (there != 0) receive();
  }
  return heard_;
}

void MpiNotice::receive() {
  std::array<char, kBytes> word{};
  check_mpi(MPI_Recv(word.data(), kBytes, MPI_BYTE, MPI_ANY_SOURCE, 0, comm_, MPI_STATUS_IGNORE), "MPI_Recv");
  ++received_;
  if (heard_.empty()) heard_ = word.data();
}

void MpiNotice::close(const Process& process) {
  const auto all = process.all_gather(given_ ? "said" : "");
  const auto speakers = std::count(all.begin(), all.end(), "said") - (given_ ? 1 : 0);
  while (received_ < speakers) receive();
  if (requests_.empty()) return;
  check_mpi(MPI_Waitall(static_cast<int>(requests_.size()), requests_.data(), MPI_STATUSES_IGNORE), "MPI_Waitall");
}

}  // namespace layalign::dist
