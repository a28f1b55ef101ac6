#include "trainer/grid_choice.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "configs/error.h"
#include "configs/strict_json.h"
#include "dist/cuda_plugin.h"
#include "trainer/durable_file.h"
#include "trainer/format.h"
#include "trainer/progress.h"

namespace layalign::trainer {
namespace {

std::string describe(const RunPlan& plan, const Machine& machine) {
  const auto gib = [](double bytes) { return bytes / (1 << 30); };
  if (!plan.fits(machine)) {
    return format("%d does not fit (%.1f GiB of %.1f)", plan.tp, gib(static_cast<double>(plan.peak_bytes())),
                  gib(machine.memory_bytes));
  }
  const double seconds = plan.run_s();
  return format("%d takes ", plan.tp) + (seconds < 60 ? format("%.2g s", seconds) : format_duration(seconds));
}

}  // namespace

GridChoice choose_grid(const std::vector<RunPlan>& plans, const Machine& machine) {
  const RunPlan* best = nullptr;
  std::string table;
  for (const RunPlan& plan : plans) {
    table += (table.empty() ? "" : ", ") + describe(plan, machine);
    if (!plan.fits(machine)) continue;
    if (best == nullptr || plan.run_s() < best->run_s()) best = &plan;
  }
  const bool none_fits = best == nullptr;
  if (none_fits) {
    best = &*std::ranges::min_element(plans, {}, [](const RunPlan& plan) { return plan.peak_bytes(); });
  }
  return {best->tp, format("parallel.tensor: auto is %d on %d ranks of %s%s: ", best->tp, best->world,
                           machine.name.c_str(), none_fits ? ", which needs least though nothing fits" : "") +
                        table};
}

GridChoice choose_grid(const Experiment& experiment, const Machine& machine, int world) {
  std::vector<RunPlan> plans;
  for (const int tp : possible_tensor_sizes(experiment, machine, world))
    plans.push_back(plan_run(experiment, machine, world, tp));
  return choose_grid(plans, machine);
}

std::optional<GridChoice> stored_choice(const RunFolder& folder, int world) {
  const auto path = folder.grid();
  if (!std::filesystem::exists(path)) return std::nullopt;
  try {
    const nlohmann::json stored = configs::parse_json(configs::read_text_file(path), path.string());
    if (stored.at("world").get<int>() != world) return std::nullopt;
    return GridChoice{stored.at("tensor").get<int>(), stored.at("reason").get<std::string>()};
  } catch (const std::exception& error) {
    throw IoError(path.string() + ": " + error.what() + "; remove the file to have the grid chosen again");
  }
}

void store_choice(const RunFolder& folder, int world, const GridChoice& choice) {
  const nlohmann::ordered_json json{{"world", world}, {"tensor", choice.tensor}, {"reason", choice.reason}};
  write_file_durably(folder.grid(), json.dump(2) + "\n");
}

Machine this_machine(const configs::ParallelConfig& parallel, int ranks_on_node, int gpu) {
  Machine machine;
  if (parallel.device != "cpu" && dist::gpu_driver_present()) {
    const auto& plugin = dist::load_cuda_plugin();
    const auto name = plugin.device_name(gpu % std::max(1, plugin.device_count()));
    const auto known = gpu_machine(name, parallel.precision);
    if (!known)
      throw configs::ConfigError("parallel.tensor: auto does not know the GPU \"" + name + "\"; set a number");
    machine = *known;
  } else {
    machine = cpu_machine(ranks_on_node);
  }
  machine.ranks_per_node = ranks_on_node;
  return machine;
}

}  // namespace layalign::trainer
