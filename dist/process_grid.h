#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "dist/communicator.h"
#include "dist/process.h"

namespace layalign::dist {

/// Where this rank stands: world = dp x tp, with the ranks of a tensor-parallel group adjacent and on one node.
///   world_rank = dp_rank * tp_size + tp_rank
/// Made once in `launch` and handed down. By default: one rank, alone, on the CPU.
struct ProcessGrid {
  std::shared_ptr<Process> process;  ///< null only in the default grid
  int world_rank = 0;
  int world_size = 1;
  int tp_rank = 0;
  int tp_size = 1;
  int dp_rank = 0;
  int dp_size = 1;
  at::Device device = at::kCPU;
  Communicator tp;     ///< the ranks that share one copy of the LLM
  Communicator world;  ///< all ranks

  /// Tells the watchdog that this rank goes on (Activity::enter).
  void enter(Section section, int64_t number = 0) const;
  /// Likewise, within a section (Activity::go_on).
  void go_on() const;
};

/// Arranges all ranks in groups of `tp`; gives each its device (the GPU of its local rank) and its communicators.
/// `device`: "auto" (CUDA if every rank has a GPU, CPU if none has one), "cpu" or "cuda".
/// `backend`: "auto" (NCCL on CUDA, but MPI where two ranks share a GPU), "mpi" (through host memory) or "nccl".
/// Call it before anything else asks LibTorch about CUDA: LibTorch remembers the answer.
/// Collectives: all ranks call it; it is checked on the gathered facts, so all ranks throw alike.
/// Errors: `CommError` naming ranks and hosts.
ProcessGrid make_grid(std::shared_ptr<Process> process, int tp, const std::string& device, const std::string& backend);

}  // namespace layalign::dist
