#pragma once

#include <string>
#include <vector>

namespace layalign::dist {

/// What a rank knows of itself and what it was asked for: gathered from all ranks, so that all decide alike.
struct RankFacts {
  std::string host;
  int node = 0;             ///< world rank of the node's first rank
  int tp = 1;               ///< parallel.tensor
  std::string device;       ///< parallel.device: auto, cpu, cuda
  std::string backend;      ///< comm.backend: auto, mpi, nccl
  int gpu_count = 0;        ///< GPUs that this rank can use
  std::string gpu_bus_id;   ///< PCI address of the GPU it would take
  int nccl_version = 0;     ///< of the NCCL library that it loaded
  std::string gpu_problem;  ///< why it can use no GPU, if it was to look for one
};

/// The facts as bytes for the control channel, and back.
std::string pack_facts(const RankFacts& facts);
RankFacts unpack_facts(const std::string& bytes);

/// What all ranks do.
struct GridPlan {
  bool cuda = false;  ///< tensors live on GPUs
  bool nccl = false;  ///< NCCL moves them; else MPI, through host memory
};

/// Checks the grid and decides device and transport; `ranks` in the order of the world ranks.
/// Errors: `CommError` that names ranks and hosts and says what to do.
GridPlan plan_grid(const std::vector<RankFacts>& ranks);

}  // namespace layalign::dist
