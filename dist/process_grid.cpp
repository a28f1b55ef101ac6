#include "dist/process_grid.h"

#include <utility>
#include <vector>

#include "dist/cuda_plugin.h"
#include "dist/grid_plan.h"

namespace layalign::dist {
namespace {

// A rank takes the GPU of its node-local rank; where each rank sees its own GPU alone, that is number 0.
int gpu_of(const Process& process, int gpu_count) { return process.local_rank() % gpu_count; }

// A failure here becomes a fact: the ranks compare them and throw together.
void look_for_gpu(const Process& process, RankFacts& facts) {
  if (facts.device == "cpu") return;
  if (!gpu_driver_present()) {
    facts.gpu_problem = "no NVIDIA driver with a visible GPU (see nvidia-smi and CUDA_VISIBLE_DEVICES)";
    return;
  }
  try {
    const CudaPlugin& plugin = load_cuda_plugin();
    const int gpu_count = plugin.device_count();
    if (gpu_count == 0) {
      facts.gpu_problem = "LibTorch sees no GPU: the driver may be older than its CUDA version";
      return;
    }
    facts.gpu_bus_id = plugin.pci_bus_id(gpu_of(process, gpu_count));
    facts.nccl_version = plugin.nccl_version();
    facts.gpu_count = gpu_count;
  } catch (const std::exception& error) {
    facts.gpu_problem = error.what();
  }
}

// The transport of this rank's group, which begins at world rank `first`; all ranks call it.
std::shared_ptr<Backend> make_backend(Process& process, const GridPlan& plan, int first, int size, at::Device device) {
  if (!plan.nccl) return process.make_mpi_backend(first);
  const CudaPlugin& plugin = load_cuda_plugin();
  const int rank = process.world_rank() - first;
  const auto ids = process.all_gather(rank == 0 ? plugin.make_nccl_id() : std::string());
  process.barrier();  // a rank that enters NCCL while others are still in MPI can hang
  return plugin.make_nccl_backend(ids[static_cast<size_t>(first)], rank, size, device.index());
}

void connect(ProcessGrid& grid, const GridPlan& plan) {
  Process& process = *grid.process;
  std::shared_ptr<Backend> world, tp;
  if (grid.world_size > 1) world = make_backend(process, plan, 0, grid.world_size, grid.device);
  const int first = grid.world_rank - grid.tp_rank;
  if (grid.tp_size == grid.world_size) {
    tp = world;  // the same ranks: one transport serves both groups
  } else if (grid.tp_size > 1) {
    tp = make_backend(process, plan, first, grid.tp_size, grid.device);
  }
  grid.world = Communicator("world", grid.world_rank, grid.world_size, grid.device, world);
  grid.tp = Communicator("tp", grid.tp_rank, grid.tp_size, grid.device, tp);
  grid.world.report_to(process.activity(), GroupKind::kWorld, 0);
  grid.tp.report_to(process.activity(), GroupKind::kTensorParallel, first);
}

}  // namespace

void ProcessGrid::enter(Section section, int64_t number) const {
  if (process) process->activity()->enter(section, number);
}

void ProcessGrid::go_on() const {
  if (process) process->activity()->go_on();
}

ProcessGrid make_grid(std::shared_ptr<Process> process, int tp, const std::string& device, const std::string& backend) {
  RankFacts mine;
  mine.host = process->host();
  mine.node = process->node();
  mine.tp = tp;
  mine.device = device;
  mine.backend = backend;
  look_for_gpu(*process, mine);

  std::vector<RankFacts> facts;
  for (const std::string& bytes : process->all_gather(pack_facts(mine))) facts.push_back(unpack_facts(bytes));
  const GridPlan plan = plan_grid(facts);

  ProcessGrid grid;
  grid.world_rank = process->world_rank();
  grid.world_size = process->world_size();
  grid.tp_size = tp;
  grid.tp_rank = grid.world_rank % tp;
  grid.dp_size = grid.world_size / tp;
  grid.dp_rank = grid.world_rank / tp;
  if (plan.cuda) {
    const int gpu = gpu_of(*process, mine.gpu_count);
    load_cuda_plugin().set_device(gpu);
    grid.device = at::Device(at::kCUDA, static_cast<at::DeviceIndex>(gpu));
  }
  grid.process = std::move(process);
  connect(grid, plan);
  return grid;
}

}  // namespace layalign::dist
