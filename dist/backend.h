#pragma once

#include <ATen/core/Tensor.h>

namespace layalign::dist {

/// How `all_reduce` joins the ranks' values.
enum class Reduce { kSum, kMax };

/// The transport of one group of ranks. Header-only, so that the CUDA plug-in needs no symbol of the program.
/// `Communicator` has checked the tensors: contiguous, not empty, of a supported type, on the right device.
/// Threads: one at a time, in the same order on every rank.
/// Errors: `CommError` with the transport's own text.
class Backend {
 public:
  virtual ~Backend() = default;

  /// "mpi" or "nccl".
  virtual const char* name() const = 0;

  /// Replaces `tensor` by the reduction over all ranks; the same bits on every rank.
  virtual void all_reduce(at::Tensor& tensor, Reduce op) = 0;

  /// Fills `out` [size, ...] with every rank's `local` [...], in the order of the ranks.
  virtual void all_gather(const at::Tensor& local, at::Tensor& out) = 0;

  /// Overwrites `tensor` with that of rank `root`.
  virtual void broadcast(at::Tensor& tensor, int root) = 0;

  /// Makes the group useless, so that no rank of it waits any longer, where the transport can do that. Called from another thread
  /// than the one that communicates, when the job is about to be ended.
  virtual void abort() noexcept {}
};

}  // namespace layalign::dist
