#include "trainer/train_step.h"

#include <algorithm>
#include <cmath>

#include "data/batch.h"
#include "data/plan.h"
#include "dist/device.h"
#include "dist/tensor_memory.h"
#include "model/shared_encoding.h"
#include "model/work_counter.h"
#include "trainer/error.h"

namespace layalign::trainer {
namespace {

std::vector<data::Sample> pick(std::span<const data::Sample> samples, std::span<const int64_t> indices) {
  std::vector<data::Sample> picked;
  for (int64_t index : indices) picked.push_back(samples[index]);
  return picked;
}

/// Calls `run(samples)` for each micro-batch of a rank's samples.
template <typename Run>
void for_each_micro_batch(std::span<const data::Sample> samples, const std::vector<int64_t>& mine, int64_t micro_batch,
                          const Run& run) {
  for (size_t begin = 0; begin < mine.size(); begin += micro_batch) {
    const size_t count = std::min<size_t>(micro_batch, mine.size() - begin);
    run(pick(samples, std::span(mine).subspan(begin, count)));
  }
}

GroupTraffic traffic_of(const dist::Communicator& group) {
  const auto& kinds = group.traffic();
  return {kinds.all_reduce.calls, kinds.all_gather.calls, kinds.all_reduce.bytes + kinds.all_gather.bytes};
}

GroupTraffic since(const GroupTraffic& before, const dist::Communicator& group) {
  const auto now = traffic_of(group);
  return {now.all_reduces - before.all_reduces, now.all_gathers - before.all_gathers, now.bytes - before.bytes};
}

/// The LLM tokens of the fullest rank over their mean.
double imbalance(std::span<const data::Sample> samples, const std::vector<std::vector<int64_t>>& plan,
                 data::InputForm form) {
  int64_t most = 0, all = 0;
  for (const auto& share : plan) {
    int64_t tokens = 0;
    for (int64_t index : share) tokens += data::llm_tokens(samples[index], form);
    most = std::max(most, tokens);
    all += tokens;
  }
  return static_cast<double>(most) * static_cast<double>(plan.size()) / static_cast<double>(all);
}

model::WorkSizes work_sizes(const Models& models, int tp) {
  const auto& layalign = models.layalign;
  model::WorkSizes sizes{.llm = models.llm.config(),
                         .encoder = models.encoder.info(),
                         .trainables = models.trainables.sizes(),
                         .form = layalign.input_form(),
                         .recompute = layalign.recompute_mode(),
                         .tp = tp};
  for (int64_t layer = 0; layer < models.llm.layers(); ++layer) {
    if (layalign.is_adapted(layer)) sizes.language_layers.push_back(layer);
  }
  return sizes;
}

int64_t label_tokens(std::span<const data::Sample> samples) {
  int64_t tokens = 0;
  for (const auto& sample : samples) tokens += static_cast<int64_t>(sample.target.size());
  return tokens;
}

}  // namespace

std::vector<std::vector<int64_t>> deal_samples(std::span<const data::Sample> samples, int dp_size) {
  std::vector<int64_t> costs;
  // An encoder token costs about a quarter of an LLM token in the paper's models.
  for (const auto& sample : samples) costs.push_back(4 * data::llm_tokens(sample) + static_cast<int64_t>(sample.source.size()));
  return data::deal_by_cost(costs, dp_size);
}

TrainStep::TrainStep(const dist::ProcessGrid& grid, const configs::OptimizerConfig& config, Models models)
    : grid_(grid),
      config_(config),
      models_(std::move(models)),
      sizes_(work_sizes(models_, grid.tp_size)),
      optimizer_(models_.trainables.masters(), config),
      phases_(grid.device) {}

at::Tensor TrainStep::run_micro_batch(std::span<const data::Sample> samples, double scale, StepCounters* counters) {
  grid_.go_on();
  phases_.enter(Phase::kData);
  const auto batch = data::pack(samples, models_.llm.config().bos_id, models_.layalign.input_form()).to(grid_.device);
  phases_.enter(Phase::kEncoder);
  const int64_t computed_before = cached_ ? cached_->traffic().computed_tokens : 0;
  const auto states = model::encode_shared(models_.encoder, batch, models_.encoder_layers, grid_.tp);
  auto& encoder_flops = counters->flops.forward[static_cast<size_t>(model::Part::kEncoder)];
  if (cached_) {  // which texts it has computed is not known here, so their attention is left out
    encoder_flops += 2 * sizes_.encoder.matrix_parameters * (cached_->traffic().computed_tokens - computed_before);
  } else {
    encoder_flops += model::encoder_flops(sizes_.encoder, model::shared_source_tokens(batch, grid_.tp));
  }
  phases_.enter(Phase::kForward);
  const auto loss = models_.layalign.label_losses(batch, states).sum();
  phases_.enter(Phase::kBackward);
  (loss * scale).backward();
  count_micro_batch(samples, batch, counters);
  return loss.detach().to(at::kDouble);
}

void TrainStep::count_micro_batch(std::span<const data::Sample> samples, const data::Batch& batch,
                                  StepCounters* counters) const {
  std::vector<model::SampleTokens> tokens;
  int64_t real_rows = 0;
  for (int64_t i = 0; i < batch.samples; ++i) {
    tokens.push_back({batch.source_offsets[i + 1] - batch.source_offsets[i],
                      batch.llm_offsets[i + 1] - batch.llm_offsets[i],
                      batch.label_offsets[i + 1] - batch.label_offsets[i]});
    real_rows += data::llm_tokens(samples[i], models_.layalign.input_form());
  }
  counters->flops += model::micro_batch_flops(sizes_, tokens);
  counters->llm_rows += batch.positions_T.size(0);
  counters->padding_rows += batch.positions_T.size(0) - real_rows;
  ++counters->micro_batches;
}

StepResult TrainStep::run(std::span<const data::Sample> samples, int64_t micro_batch, double lr, int64_t number,
                          const StepRequests& requests) {
  StepResult result;
  auto& counters = result.counters;
  const auto tp_before = traffic_of(grid_.tp), world_before = traffic_of(grid_.world);
  std::optional<model::WorkCounter> executed;
  if (count_executed_) executed.emplace(grid_.device);
  result.label_tokens = label_tokens(samples);
  const auto plan = deal_samples(samples, grid_.dp_size);
  const auto& mine = plan[grid_.dp_rank];
  int64_t micro_batches = 0;
  for (const auto& share : plan) micro_batches += (static_cast<int64_t>(share.size()) + micro_batch - 1) / micro_batch;
  for (const auto& sample : samples) {
    result.llm_tokens += data::llm_tokens(sample, models_.layalign.input_form());
    counters.encoder_tokens += static_cast<int64_t>(sample.source.size());
  }
  counters.label_ratio = static_cast<double>(result.label_tokens) / static_cast<double>(result.llm_tokens);
  counters.rank_imbalance = imbalance(samples, plan, models_.layalign.input_form());

  models_.trainables.zero_gradients();
  auto loss_sum = at::zeros({}, at::TensorOptions(grid_.device).dtype(at::kDouble));
  for_each_micro_batch(samples, mine, micro_batch, [&](const std::vector<data::Sample>& part) {
    const bool by_tokens = config_.loss_normalization == "tokens";
    const auto divisor = by_tokens ? result.label_tokens : micro_batches * label_tokens(part);
    loss_sum += run_micro_batch(part, 1.0 / static_cast<double>(divisor), &counters);
  });

  phases_.enter(Phase::kReduce);
  reduce(loss_sum / static_cast<double>(result.label_tokens), requests, &result);
  if (!std::isfinite(result.loss) || !std::isfinite(result.grad_norm)) diverged(samples, mine, result);
  phases_.enter(Phase::kUpdate);
  auto values = models_.trainables.gradients().narrow(0, 0, models_.trainables.size());
  clip_gradient(values, result.grad_norm, config_.clip_norm);
  optimizer_.step(values, lr, number);
  counters.tp = since(tp_before, grid_.tp);
  counters.world = since(world_before, grid_.world);
  counters.peak_tensor_bytes = dist::peak_tensor_bytes(grid_.device);
  if (executed) counters.executed = executed->count();
  return result;
}

void TrainStep::expect(std::span<const data::Sample> samples, int64_t micro_batch) const {
  const auto plan = deal_samples(samples, grid_.dp_size);
  for_each_micro_batch(samples, plan[grid_.dp_rank], micro_batch, [&](const std::vector<data::Sample>& part) {
    model::expect_shared(models_.encoder, part, grid_.tp);
  });
}

void TrainStep::reduce(const at::Tensor& loss, const StepRequests& requests, StepResult* result) {
  const auto& gradients = models_.trainables.gradients();
  auto riders = gradients.narrow(0, models_.trainables.size(), TrainStep::riders(grid_));
  riders[0].copy_(loss);
  riders[1] = static_cast<double>(requests.stop);
  riders[2] = static_cast<double>(requests.save);
  riders[3 + grid_.world_rank] = static_cast<double>(dist::peak_memory_bytes(grid_.device));
  // Of what every rank of a tensor-parallel group holds whole, one rank contributes.
  if (grid_.tp_rank != 0) {
    gradients.narrow(0, 0, models_.trainables.mapping_size()).zero_();
    riders[0] = 0;
  }
  grid_.world.all_reduce(gradients);
  // All that the host wants to know of the step, in one read: the only time that it waits for the device.
  const auto norm = gradient_norm(gradients.narrow(0, 0, models_.trainables.size()));
  const auto host = model::to_host(at::cat({riders.to(at::kDouble), norm.view({1})}));
  const auto* const values = host.const_data_ptr<double>();
  result->loss = values[0];
  result->requests = {.stop = values[1] > 0, .save = values[2] > 0};
  result->peak_memory_bytes = static_cast<int64_t>(*std::max_element(values + 3, values + 3 + grid_.world_size));
  result->grad_norm = values[3 + grid_.world_size];
}

void TrainStep::diverged(std::span<const data::Sample> samples, const std::vector<int64_t>& mine, const StepResult& result) {
  // Nothing has been updated: each rank goes through its samples again, one by one, and looks for those to blame.
  std::string found;
  for_each_micro_batch(samples, mine, 1, [&](const std::vector<data::Sample>& one) {
    models_.trainables.zero_gradients();
    StepCounters unused;
    const double loss = run_micro_batch(one, 1.0 / static_cast<double>(result.label_tokens), &unused).item<double>();
    const double norm = at::linalg_vector_norm(models_.trainables.gradients().narrow(0, 0, models_.trainables.size())).item<double>();
    if (std::isfinite(loss) && std::isfinite(norm)) return;
    found += "\n  " + one[0].origin + (std::isfinite(loss) ? ": gradient is not finite" : ": loss is " + std::to_string(loss));
  });
  const auto reports = grid_.process ? grid_.process->all_gather(found) : std::vector<std::string>{found};
  std::string message = "loss " + std::to_string(result.loss) + ", gradient norm " +
                        std::to_string(result.grad_norm) + "; this step updated and saved nothing.";
  const bool is_one_to_blame = std::any_of(reports.begin(), reports.end(), [](const auto& report) { return !report.empty(); });
  if (!is_one_to_blame) message += "\nEach sample alone is finite on every rank: it is their sum that is not.";
  for (size_t rank = 0; rank < reports.size(); ++rank) {
    if (!reports[rank].empty()) message += "\nrank " + std::to_string(rank) + ":" + reports[rank];
  }
  throw DivergedError(message + "\nLook at these samples, lower lr, or use precision float32.");
}

}  // namespace layalign::trainer
