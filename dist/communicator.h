#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "dist/activity.h"
#include "dist/backend.h"

namespace layalign::dist {

/// What one kind of collective has moved: `bytes` counts the tensor that this rank handed in.
struct Traffic {
  int64_t calls = 0;
  int64_t bytes = 0;
};

/// The traffic of a communicator, by kind of collective.
struct TrafficByKind {
  Traffic all_reduce;
  Traffic all_gather;
  Traffic broadcast;
};

/// A group of ranks that exchange tensors: a cheap value, copies mean the same group. A group of one is the identity:
/// nothing is sent, counted or copied, so one code path serves 1 and N ranks.
/// Tensors: contiguous float32, float64, bfloat16, int64, int32 or uint8 on the group's device, alike on all ranks.
/// Gradients: none, and tensors that autograd records are refused (see tensor_parallel.h).
/// Threads: one at a time, in the same order on every rank.
/// Errors: `c10::Error` for a wrong argument; `CommError` with group, operation and number for a failed transport.
class Communicator {
 public:
  /// A group of one: rank 0 of 1.
  Communicator();

  /// Rank `rank` of the `size` ranks that `backend` joins, for tensors on `device`.
  /// `backend` may be null when `size` is 1.
  Communicator(std::string name, int rank, int size, at::Device device, std::shared_ptr<Backend> backend);

  /// From here on `activity` is told of every collective. `first_rank`: the group's first world rank.
  void report_to(std::shared_ptr<Activity> activity, GroupKind kind, int first_rank) const;
  /// A collective for which a group of one has nothing to send: whoever watches sees that the rank goes on.
  void go_on() const;

  int rank() const;
  int size() const;

  /// The group's name, such as "tp" or "world".
  const std::string& name() const;

  /// The transport: "mpi", "nccl", or "self" in a group of one.
  const char* backend() const;

  /// Replaces `tensor` by the sum (or maximum) over the ranks, with the same bits on every rank.
  /// bfloat16 is summed in float32 and rounded once by MPI; NCCL rounds in its own way.
  void all_reduce(at::Tensor tensor, Reduce op = Reduce::kSum) const;

  /// Every rank's `local` [...] as [size, ...]. Alone it is a view of `local`: do not write to it.
  at::Tensor all_gather(const at::Tensor& local) const;

  /// Overwrites `tensor` with that of rank `root`.
  void broadcast(at::Tensor tensor, int root) const;

  /// The collectives that this rank has issued on this group.
  const TrafficByKind& traffic() const;

  /// The number of collectives issued on this group, of any kind: equal on all ranks between two collectives.
  int64_t sequence() const;

  /// Lets go of all that wait in this group (Backend::abort); it cannot be used any more. Any thread.
  void abort() const noexcept;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace layalign::dist
