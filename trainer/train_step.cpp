#include "trainer/train_step.h"

#include <algorithm>
#include <cmath>

#include "data/batch.h"
#include "data/plan.h"
#include "dist/device.h"
#include "model/shared_encoding.h"
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
    : grid_(grid), config_(config), models_(std::move(models)), optimizer_(models_.trainables.masters(), config) {}

double TrainStep::run_micro_batch(std::span<const data::Sample> samples, double scale) {
  grid_.go_on();
  const auto batch = data::pack(samples, models_.llm.config().bos_id, models_.layalign.input_form()).to(grid_.device);
  const auto states = model::encode_shared(models_.encoder, batch, models_.encoder_layers, grid_.tp);
  const auto loss = models_.layalign.label_losses(batch, states).sum();
  (loss * scale).backward();
  return loss.item<double>();
}

StepResult TrainStep::run(std::span<const data::Sample> samples, int64_t micro_batch, double lr, int64_t number,
                          const StepRequests& requests) {
  StepResult result;
  result.label_tokens = label_tokens(samples);
  const auto plan = deal_samples(samples, grid_.dp_size);
  const auto& mine = plan[grid_.dp_rank];
  int64_t micro_batches = 0;
  for (const auto& share : plan) micro_batches += (static_cast<int64_t>(share.size()) + micro_batch - 1) / micro_batch;
  for (const auto& sample : samples) result.llm_tokens += data::llm_tokens(sample, models_.layalign.input_form());

  models_.trainables.zero_gradients();
  double loss_sum = 0;
  for_each_micro_batch(samples, mine, micro_batch, [&](const std::vector<data::Sample>& part) {
    const bool by_tokens = config_.loss_normalization == "tokens";
    const auto divisor = by_tokens ? result.label_tokens : micro_batches * label_tokens(part);
    loss_sum += run_micro_batch(part, 1.0 / static_cast<double>(divisor));
  });

  reduce(loss_sum / static_cast<double>(result.label_tokens), requests, &result);
  auto values = models_.trainables.gradients().narrow(0, 0, models_.trainables.size());
  result.grad_norm = clip_gradient(values, config_.clip_norm);
  if (!std::isfinite(result.loss) || !std::isfinite(result.grad_norm)) diverged(samples, mine, result);
  optimizer_.step(values, lr, number);
  return result;
}

void TrainStep::expect(std::span<const data::Sample> samples, int64_t micro_batch) const {
  const auto plan = deal_samples(samples, grid_.dp_size);
  for_each_micro_batch(samples, plan[grid_.dp_rank], micro_batch, [&](const std::vector<data::Sample>& part) {
    model::expect_shared(models_.encoder, part, grid_.tp);
  });
}

void TrainStep::reduce(double loss, const StepRequests& requests, StepResult* result) {
  const auto& gradients = models_.trainables.gradients();
  auto riders = gradients.narrow(0, models_.trainables.size(), TrainStep::riders(grid_));
  riders[0] = loss;
  riders[1] = static_cast<double>(requests.stop);
  riders[2] = static_cast<double>(requests.save);
  riders[3 + grid_.world_rank] = static_cast<double>(dist::peak_memory_bytes(grid_.device));
  // Of what every rank of a tensor-parallel group holds whole, one rank contributes.
  if (grid_.tp_rank != 0) {
    gradients.narrow(0, 0, models_.trainables.mapping_size()).zero_();
    riders[0] = 0;
  }
  grid_.world.all_reduce(gradients);
  riders = riders.to(at::kCPU);
  result->loss = riders[0].item<double>();
  result->requests = {.stop = riders[1].item<double>() > 0, .save = riders[2].item<double>() > 0};
  result->peak_memory_bytes = static_cast<int64_t>(riders.narrow(0, 3, grid_.world_size).max().item<double>());
}

void TrainStep::diverged(std::span<const data::Sample> samples, const std::vector<int64_t>& mine, const StepResult& result) {
  // Nothing has been updated: each rank goes through its samples again, one by one, and looks for those to blame.
  std::string found;
  for_each_micro_batch(samples, mine, 1, [&](const std::vector<data::Sample>& one) {
    models_.trainables.zero_gradients();
    const double loss = run_micro_batch(one, 1.0 / static_cast<double>(result.label_tokens));
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
