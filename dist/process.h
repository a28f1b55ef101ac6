#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "dist/activity.h"
#include "dist/backend.h"
#include "dist/heartbeat.h"
#include "dist/mailbox.h"
#include "dist/notice.h"

namespace layalign::dist {

/// What the environment says about how this program was started.
struct LaunchEnvironment {
  bool under_mpi = false;   ///< mpirun, or srun with PMIx or PMI, started it
  int announced_ranks = 0;  ///< the ranks that the MPI launcher says it started; 0 if it does not say
  int slurm_tasks = 0;      ///< the tasks of the Slurm step or job; 0 outside Slurm
};

/// Reads the variables of OpenMPI, PMIx, PMI and Slurm through `get` (as `std::getenv`).
LaunchEnvironment read_launch_environment(const std::function<const char*(const char*)>& get);

/// Refuses a start in which each of several ranks would believe itself alone, or where MPI and its launcher disagree.
/// Errors: `CommError` that says how to start it instead.
void check_launch(const LaunchEnvironment& launch, int mpi_ranks);

/// This program as one rank of a job: starts MPI (only under mpirun or srun; else it is a world of one), ends it, and
/// carries small host messages (the control channel).
/// Collectives: all ranks call `all_gather`, `broadcast`, `barrier`, `make_mpi_backend`, `finalize` in the same order.
/// Threads: one at a time, but for `abort`, which any thread may call at any moment.
class Process {
 public:
  /// Errors: `CommError` for a start that cannot work (see `check_launch`), or a second `Process` in one program.
  Process();

  /// Ends MPI, unless an exception is passing through: MPI_Finalize would then wait for peers that are elsewhere;
  /// `abort`, or the exit of this rank, ends the job.
  ~Process();

  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  int world_rank() const { return world_rank_; }
  int world_size() const { return world_size_; }

  /// The rank among the ranks of this node.
  int local_rank() const { return local_rank_; }
  int local_size() const { return local_size_; }

  /// The node's identity: the world rank of its first rank (two nodes may bear one host name).
  int node() const { return node_; }

  /// The node's name, for messages.
  const std::string& host() const { return host_; }

  /// Every rank's bytes, in the order of the ranks; lengths may differ.
  std::vector<std::string> all_gather(const std::string& mine) const;

  /// The bytes of rank `root`, on every rank.
  std::string broadcast(const std::string& mine, int root) const;

  /// Returns when all ranks have called it.
  void barrier() const;

  /// The same, with something to look after: calls `meanwhile` every few hundredths of a second until the others are there.
  void barrier(const std::function<void()>& meanwhile) const;

  /// The MPI transport of the ranks that pass the same `color`, in the order of their world ranks.
  std::shared_ptr<Backend> make_mpi_backend(int color);

  /// A channel for heartbeats of all ranks. Collectives: one on the control channel.
  std::shared_ptr<HeartbeatChannel> make_heartbeat_channel();

  /// A mailbox of all ranks. Collectives: one on the control channel.
  std::unique_ptr<Mailbox> make_mailbox();

  /// A notice among all ranks. Collectives: one on the control channel.
  std::unique_ptr<Notice> make_notice();

  /// What this rank is doing: its collectives are noted here, and the section of the run by whoever runs it.
  const std::shared_ptr<Activity>& activity() const { return activity_; }

  /// Ends MPI on all ranks; nothing that communicates may be called afterwards. A second call does nothing.
  void finalize();

  /// Ends all ranks at once; mpirun's exit status is `code`.
  [[noreturn]] void abort(int code) const;

 private:
  struct Mpi;
  /// A collective on the control channel begins.
  CollectiveScope begin_collective(const char* operation) const;
  void start_mpi(const LaunchEnvironment& launch);

  std::shared_ptr<Activity> activity_ = std::make_shared<Activity>();
  std::unique_ptr<Mpi> mpi_;  // null in a world of one without MPI, and after finalize
  int world_rank_ = 0;
  int world_size_ = 1;
  int local_rank_ = 0;
  int local_size_ = 1;
  int node_ = 0;
  std::string host_;
  int exceptions_at_start_ = 0;
};

}  // namespace layalign::dist
