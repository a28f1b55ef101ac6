#include "launch/start.h"

#include <string>

#include "configs/error.h"
#include "launch/failure.h"
#include "trainer/log.h"

namespace layalign::launch {

void check_world(const configs::RunConfig& config, int world) {
  const auto tensor = config.parallel.tensor;
  if (world % tensor == 0) return;
  throw configs::ConfigError(std::to_string(world) + " rank" + (world == 1 ? "" : "s") +
                             " cannot be divided into tensor-parallel groups of parallel.tensor = " + std::to_string(tensor) +
                             "; start a multiple of " + std::to_string(tensor) + " ranks (mpirun -n N), or set parallel.tensor");
}

dist::ProcessGrid start_grid(const configs::RunConfig& config, const std::shared_ptr<dist::Process>& process,
                             dist::Watchdog* watchdog) {
  together(*process, [&] { check_world(config, process->world_size()); });
  auto grid = dist::make_grid(process, static_cast<int>(config.parallel.tensor), config.parallel.device, config.comm.backend);
  trainer::set_up_log(trainer::make_rank_tag(grid.world_rank, grid.world_size, grid.tp_rank, grid.dp_rank), grid.world_rank == 0);
  if (watchdog != nullptr) {
    watchdog->guard(grid.tp);
    watchdog->guard(grid.world);
  }
  return grid;
}

}  // namespace layalign::launch
