#pragma once

#include <optional>
#include <string>

#include "trainer/run_folder.h"
#include "trainer/run_plan.h"

namespace layalign::trainer {

/// The number of tensor-parallel ranks that `parallel.tensor: auto` means.
struct GridChoice {
  int tensor = 1;
  std::string reason;  ///< in a sentence
};

/// Of the sizes that model and ranks allow, the one whose planned run is the shortest among those that fit the memory;
/// of equals the smaller; where none fits, the one that needs least. `experiment` may have any parallel.tensor.
GridChoice choose_grid(const Experiment& experiment, const Machine& machine, int world);

/// The same from plans, ascending by their tensor-parallel size.
GridChoice choose_grid(const std::vector<RunPlan>& plans, const Machine& machine);

/// What a run chose that began with so many ranks: OUTPUT/grid.json. None where there is no such run. Errors: IoError.
std::optional<GridChoice> stored_choice(const RunFolder& folder, int world);
void store_choice(const RunFolder& folder, int world, const GridChoice& choice);

/// The rank's processor for a choice: a GPU that LibTorch sees and `find_gpu` knows, else the CPU.
/// Errors: ConfigError for a GPU that is not known.
Machine this_machine(const configs::ParallelConfig& parallel, int ranks_on_node, int gpu);

}  // namespace layalign::trainer
