#include "dist/mpi_heartbeat.h"

#include <chrono>
#include <thread>

#include "dist/mpi_backend.h"

namespace layalign::dist {
namespace {

constexpr int kHeartbeatTag = 1;
constexpr int kBytes = static_cast<int>(sizeof(Heartbeat));
constexpr auto kHeartbeatPause = std::chrono::milliseconds(5);

}  // namespace

MpiHeartbeatChannel::MpiHeartbeatChannel(MPI_Comm comm) : comm_(comm) {
  int size = 0;
  check_mpi(MPI_Comm_rank(comm_, &rank_), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(comm_, &size), "MPI_Comm_size");
  lines_[1].observer = size - 1;
}

bool MpiHeartbeatChannel::is_sent(Line& line) {
  int done = 0;
  check_mpi(MPI_Test(&line.request, &done, MPI_STATUS_IGNORE), "MPI_Test");
  return done != 0;
}

void MpiHeartbeatChannel::send(const Heartbeat& beat) {
  for (Line& line : lines_) {
    if (line.observer == rank_ || !is_sent(line)) continue;
    line.beat = beat;
    check_mpi(MPI_Isend(&line.beat, kBytes, MPI_BYTE, line.observer, kHeartbeatTag, comm_, &line.request), "MPI_Isend");
  }
}

std::vector<Heartbeat> MpiHeartbeatChannel::receive() {
  std::vector<Heartbeat> beats;
  for (;;) {
    int there = 0;
    check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, kHeartbeatTag, comm_, &there, MPI_STATUS_IGNORE), "MPI_Iprobe");
    if (there == 0) return beats;
    beats.emplace_back();
    check_mpi(MPI_Recv(&beats.back(), kBytes, MPI_BYTE, MPI_ANY_SOURCE, kHeartbeatTag, comm_, MPI_STATUS_IGNORE), "MPI_Recv");
  }
}

bool MpiHeartbeatChannel::flush(double patience_s) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(patience_s);
  for (;;) {
    bool sent = true;
    for (Line& line : lines_) sent = is_sent(line) && sent;
    if (sent || std::chrono::steady_clock::now() > deadline) return sent;
    std::this_thread::sleep_for(kHeartbeatPause);
  }
}

}  // namespace layalign::dist
