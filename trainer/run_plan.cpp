#include "trainer/run_plan.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "dist/device.h"
#include "model/clock.h"
#include "model/linear.h"
#include "trainer/gpu_specs.h"
#include "trainer/train_step.h"
#include "trainer/trainables_file.h"

namespace layalign::trainer {
namespace {

constexpr int64_t kPlannedSteps = 8;          // batches of a stage that are looked at
constexpr double kReached = 0.8;              // of what large products reach, by those of a step
constexpr double kMemoryReached = 0.85;       // of the data sheet's bandwidth
constexpr double kUsable = 0.88;              // of a device's memory
constexpr double kTensorParallelLoss = 0.95;  // products of half the width: so much of the speed at each doubling

int64_t type_bytes(const Experiment& experiment) { return experiment.config.parallel.precision == "bfloat16" ? 2 : 4; }

/// The best of a few runs after a warm-up, in seconds.
template <typename Run>
double fastest_s(const Run& run) {
  run();
  double best = 1e30;
  for (int i = 0; i < 5; ++i) {
    const auto start = model::Clock::now();
    run();
    best = std::min(best, model::seconds_since(start));
  }
  return best;
}

/// Bytes that a token's elementwise work reads and writes in a layer, forward and backward: 2.31 MB at Llama-2-7B's
/// widths in bfloat16, where it was measured; elsewhere in proportion to the widths.
double elementwise_bytes(const Experiment& experiment, int tp) {
  const auto& llm = experiment.llm;
  const auto width = [](double D, double F) { return 10 * D + 3 * F; };
  const auto D = static_cast<double>(llm.hidden_size), F = static_cast<double>(llm.intermediate_size);
  const double layer = 2.31e6 * width(D, F) / width(4096, 11008) * static_cast<double>(type_bytes(experiment)) / 2;
  return layer * static_cast<double>(llm.layers) * (0.25 + 0.75 / tp);  // the residual stream is whole on every rank
}

double all_reduce_s(const Machine& machine, double bytes, int ranks) {
  if (ranks == 1) return 0;
  return machine.collective_s * std::log2(ranks) + bytes * 2 * (ranks - 1) / ranks / machine.bus_bytes_per_s;
}

/// The work of a data-parallel rank in a step.
struct RankWork {
  double flops = 0, tokens = 0, communication_s = 0, bytes = 0;
  int64_t micro_batches = 0;
};

class Planner {
 public:
  Planner(const Experiment& experiment, const Machine& machine, int world, int tp)
      : experiment_(experiment), machine_(machine), world_(world), tp_(tp), sizes_(work_sizes(experiment, tp)) {}

  StagePlan plan(const PreparedStage& stage, size_t index, const HeldBytes& held) {
    StagePlan plan{.steps = stage.total_steps};
    const int64_t looked_at = std::min(kPlannedSteps, stage.total_steps);
    for (int64_t i = 0; i < looked_at; ++i) add_step(stage, index, i * stage.total_steps / looked_at, &plan);
    const auto mean = [&](double& value) { value /= static_cast<double>(looked_at); };
    for (double* value : {&plan.llm_tokens, &plan.flops, &plan.product_s, &plan.elementwise_s, &plan.communication_s,
                          &plan.communication_bytes}) {
      mean(*value);
    }
    plan.bound_s = plan.flops / machine_.flops / world_;
    const double each = static_cast<double>(plan.memory.peak()) / static_cast<double>(plan.micro_batch_tokens);
    const double room = kUsable * machine_.memory_bytes - static_cast<double>(held.total());
    plan.fitting_tokens = std::max<int64_t>(0, static_cast<int64_t>(room / each));
    return plan;
  }

 private:
  void add_step(const PreparedStage& stage, size_t index, int64_t step, StagePlan* plan) {
    std::vector<data::Sample> samples;
    for (const int64_t i : stage.batch(step, shuffle_seed(experiment_.config.seed, static_cast<int64_t>(index)))) {
      samples.push_back(stage.dataset->get(i));
    }
    RankWork fullest;
    for (const auto& share : deal_samples(samples, world_ / tp_)) {
      const RankWork work = rank_work(samples, share, stage.config.micro_batch, plan);
      plan->flops += work.flops * tp_;
      plan->llm_tokens += work.tokens;
      if (work.flops > fullest.flops) fullest = work;
    }
    const double speed = kReached * machine_.flops * std::pow(kTensorParallelLoss, std::log2(tp_));
    const auto weights = static_cast<double>(experiment_.llm.parameters(tp_) * type_bytes(experiment_));
    const double reads_s = static_cast<double>(fullest.micro_batches) * 2 * weights / machine_.memory_bytes_per_s;
    plan->product_s += std::max(fullest.flops / speed, reads_s);
    plan->elementwise_s +=
        fullest.tokens * elementwise_bytes(experiment_, tp_) / (kMemoryReached * machine_.memory_bytes_per_s);
    const double gradient = 4.0 * static_cast<double>(layout_numel(model::trainable_layout(experiment_.sizes)));
    plan->communication_s += fullest.communication_s + all_reduce_s(machine_, gradient, world_);
    plan->communication_bytes += fullest.bytes + (world_ > 1 ? gradient : 0);
  }

  RankWork rank_work(const std::vector<data::Sample>& samples, const std::vector<int64_t>& share, int64_t micro_batch,
                     StagePlan* plan) const {
    RankWork work;
    for (size_t begin = 0; begin < share.size(); begin += static_cast<size_t>(micro_batch)) {
      const size_t end = std::min(share.size(), begin + static_cast<size_t>(micro_batch));
      std::vector<model::SampleTokens> tokens;
      std::vector<int64_t> sources;
      int64_t llm = 0;
      for (size_t i = begin; i < end; ++i) {
        const auto& sample = samples[share[i]];
        const auto source = static_cast<int64_t>(sample.source.size());
        tokens.push_back(
            {source, data::llm_tokens(sample, experiment_.input_form), static_cast<int64_t>(sample.target.size())});
        sources.push_back(source);
        llm += tokens.back().llm;
      }
      work.flops += static_cast<double>(model::micro_batch_flops(sizes_, tokens).total());
      if (experiment_.config.cache.mode != "read") {
        work.flops += static_cast<double>(model::encoder_flops(sizes_.encoder, sources)) / tp_;
      }
      work.tokens += static_cast<double>(llm);
      ++work.micro_batches;
      add_collectives(static_cast<double>(llm), &work);
      if (llm > plan->micro_batch_tokens) {
        plan->micro_batch_tokens = llm;
        plan->memory = model::micro_batch_memory(sizes_, type_bytes(experiment_), tokens);
      }
    }
    return work;
  }

  void add_collectives(double llm_tokens, RankWork* work) const {
    if (tp_ == 1) return;
    const int64_t a_layer = sizes_.recompute == model::Recompute::kFull ? 6 : 4;
    const double bytes = llm_tokens * static_cast<double>(experiment_.llm.hidden_size * type_bytes(experiment_));
    const auto calls = static_cast<double>(a_layer * experiment_.llm.layers + 2);
    work->communication_s += calls * all_reduce_s(machine_, bytes, tp_);
    work->bytes += calls * bytes;
  }

  const Experiment& experiment_;
  const Machine& machine_;
  int world_, tp_;
  model::WorkSizes sizes_;
};

}  // namespace

std::optional<Machine> gpu_machine(const std::string& gpu, const std::string& precision) {
  const auto spec = find_gpu(gpu);
  if (!spec) return std::nullopt;
  Machine machine;
  machine.name = spec->name;
  machine.flops = kReached * (precision == "bfloat16" ? spec->bfloat16_flops : spec->float32_flops);
  machine.memory_bytes = spec->memory_bytes;
  machine.memory_bytes_per_s = spec->memory_bytes_per_s;
  const bool nvlink = machine.name.find("l40") == std::string::npos && machine.name.find("pcie") == std::string::npos;
  machine.bus_bytes_per_s = nvlink ? 370e9 : 20e9;
  machine.collective_s = 15e-6;
  return machine;
}

Machine cpu_machine(int ranks) {
  at::NoGradGuard no_grad;
  constexpr int64_t kSide = 768;
  const auto a = at::ones({kSide, kSide}), b = at::ones({kSide, kSide});
  const auto from = at::ones({int64_t{16} << 20});
  auto to = at::empty_like(from);
  Machine machine;
  machine.name = "this machine's CPU";
  machine.flops = 2.0 * kSide * kSide * kSide / fastest_s([&] { model::apply_linear(a, b); });
  machine.memory_bytes_per_s = 2.0 * static_cast<double>(from.nbytes()) / fastest_s([&] { to.copy_(from); });
  machine.memory_bytes = static_cast<double>(dist::device_memory(at::kCPU).total_bytes) / ranks;
  machine.bus_bytes_per_s = machine.memory_bytes_per_s / 4;  // through shared memory: written and read twice
  machine.collective_s = 30e-6;
  return machine;
}

HeldBytes held_bytes(const Experiment& experiment, int tp) {
  const int64_t e = type_bytes(experiment);
  const bool has_encoder = experiment.config.cache.mode != "read";
  return {experiment.llm.parameters(tp) * e, has_encoder ? experiment.encoder.parameters * e : 0,
          16 * layout_numel(model::trainable_layout(experiment.sizes))};
}

model::WorkSizes work_sizes(const Experiment& experiment, int tp) {
  return {
      .llm = experiment.llm,
      .encoder = experiment.encoder,
      .trainables = experiment.sizes,
      .language_layers = experiment.language_layers,
      .form = experiment.input_form,
      .recompute = recompute_mode(experiment.config.parallel),
      .tp = tp};
}

RunPlan plan_run(const Experiment& experiment, const Machine& machine, int world, int tp) {
  RunPlan plan{.world = world, .tp = tp, .held = held_bytes(experiment, tp)};
  Planner planner(experiment, machine, world, tp);
  for (size_t i = 0; i < experiment.stages.size(); ++i) {
    plan.stages.push_back(planner.plan(experiment.stages[i], i, plan.held));
  }
  return plan;
}

int64_t RunPlan::peak_bytes() const {
  int64_t most = 0;
  for (const StagePlan& stage : stages) most = std::max(most, stage.memory.peak());
  return held.total() + most;
}

bool RunPlan::fits(const Machine& machine) const {
  return static_cast<double>(peak_bytes()) <= kUsable * machine.memory_bytes;
}

double RunPlan::run_s() const {
  double seconds = 0;
  for (const StagePlan& stage : stages) seconds += static_cast<double>(stage.steps) * stage.step_s();
  return seconds;
}

std::vector<int> possible_tensor_sizes(const Experiment& experiment, const Machine& machine, int world) {
  std::vector<int> sizes;
  for (int tp = 1; tp <= std::min<int64_t>(world, machine.ranks_per_node); ++tp) {
    if (world % tp == 0 && experiment.llm.tensor_parallel_problem(tp).empty()) sizes.push_back(tp);
  }
  return sizes;
}

}  // namespace layalign::trainer
