#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/memory_formula.h"
#include "trainer/experiment.h"

namespace layalign::trainer {

/// What a plan knows of a machine: per rank.
struct Machine {
  std::string name;  ///< "h200", "this machine's CPU"
  double flops = 0;  ///< that large matrix products reach, a second
  double memory_bytes = 0;
  double memory_bytes_per_s = 0;
  double bus_bytes_per_s = 0;  ///< of an all-reduce within a node
  double collective_s = 0;     ///< of the smallest all-reduce
  int64_t ranks_per_node = 8;  ///< that a tensor-parallel group may use
};

/// A GPU by its name (gpu_specs.h), at 0.8 of its data sheet's products; none of one that is not known.
std::optional<Machine> gpu_machine(const std::string& gpu, const std::string& precision);
/// This machine's CPU with its present threads, `ranks` ranks on it: products and copies are measured for a moment.
Machine cpu_machine(int ranks);

/// What a rank holds all the time.
struct HeldBytes {
  int64_t llm = 0, encoder = 0;
  int64_t trainables = 0;  ///< masters, gradients, two moments, float32 each
  int64_t total() const { return llm + encoder + trainables; }
};
HeldBytes held_bytes(const Experiment& experiment, int tp);

/// A stage on a grid; times in seconds, of the fullest rank.
struct StagePlan {
  int64_t steps = 0;
  double llm_tokens = 0;           ///< a step, of all ranks
  int64_t micro_batch_tokens = 0;  ///< LLM tokens of the largest micro-batch that was looked at
  int64_t fitting_tokens = 0;      ///< LLM tokens of a micro-batch that would fit
  model::MicroBatchMemory memory;  ///< of that largest micro-batch
  double flops = 0;                ///< a step, of all ranks
  double bound_s = 0;              ///< products alone, equally on all ranks
  double product_s = 0, elementwise_s = 0, communication_s = 0;
  double communication_bytes = 0;  ///< a step, that a rank hands in
  double step_s() const { return product_s + elementwise_s + communication_s; }
};

/// A run on world = dp x tp ranks of a machine.
struct RunPlan {
  int world = 1, tp = 1;
  HeldBytes held;
  std::vector<StagePlan> stages;

  int64_t peak_bytes() const;
  bool fits(const Machine& machine) const;
  double run_s() const;
};

/// What the formulas of `work_formula.h` need of an experiment.
model::WorkSizes work_sizes(const Experiment& experiment, int tp);

/// Plans a run from real batches of each stage (evenly spaced steps) and the formulas of docs/performance.md.
RunPlan plan_run(const Experiment& experiment, const Machine& machine, int world, int tp);

/// The tensor-parallel sizes that the model and the world allow, ascending.
std::vector<int> possible_tensor_sizes(const Experiment& experiment, const Machine& machine, int world);

}  // namespace layalign::trainer
