#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "configs/schema.h"
#include "data/sample.h"
#include "dist/process_grid.h"
#include "model/cached_encoder.h"
#include "model/encoder.h"
#include "model/layalign.h"
#include "model/trainables.h"
#include "model/work_formula.h"
#include "trainer/adamw.h"
#include "trainer/phase_timer.h"
#include "trainer/step_counters.h"

namespace layalign::trainer {

/// The models of a run as the steps use them. References: the owner outlives the steps.
struct Models {
  const model::Encoder& encoder;
  const model::Llm& llm;
  const model::LayAlign& layalign;
  model::Trainables& trainables;
  std::vector<int64_t> encoder_layers;
};

/// What a rank asks of all; it rides along in the all-reduce of the gradients.
struct StepRequests {
  bool stop = false;
  bool save = false;
};

/// What one optimiser step found, the same on every rank.
struct StepResult {
  double loss = 0;       ///< before the update, mean over the label tokens of the global batch
  double grad_norm = 0;  ///< before clipping
  int64_t label_tokens = 0;
  int64_t llm_tokens = 0;
  int64_t peak_memory_bytes = 0;  ///< so far, of the rank that needs most
  StepRequests requests;          ///< of any rank
  StepCounters counters;
};

/// The samples of each data-parallel rank, dealt by cost; the same plan on every rank.
std::vector<std::vector<int64_t>> deal_samples(std::span<const data::Sample> samples, int dp_size);

/// One optimiser step over a global batch.
///
///   gradient = d/d(trainables) sum over label tokens of the global batch / their number
/// The samples are dealt to the data-parallel ranks; each runs its own in micro-batches and adds into the flat gradient
/// buffer; one world all-reduce sums it and the loss. So the result does not depend on the grid, the micro-batch or the
/// accumulation beyond rounding.
class TrainStep {
 public:
  /// The trainables' riders: the loss, two requests, and the peak memory of each rank.
  static int64_t riders(const dist::ProcessGrid& grid) { return 3 + grid.world_size; }

  TrainStep(const dist::ProcessGrid& grid, const configs::OptimizerConfig& config, Models models);

  /// `samples`: the whole global batch, the same on every rank. `number` counts updates from 1.
  /// Collectives: those of the micro-batches on tp; one all-reduce of the flat gradient on world.
  /// Errors: DivergedError on every rank, before the update, naming rank and samples.
  StepResult run(std::span<const data::Sample> samples, int64_t micro_batch, double lr, int64_t number,
                 const StepRequests& requests = {});

  /// The executed work of the steps from now on is counted, or no longer (model/work_counter.h).
  void count_executed(bool wanted) { count_executed_ = wanted; }
  PhaseTimer& phases() { return phases_; }

  /// Announces the source texts of a later step to the encoder, so that a cache reads them ahead.
  void expect(std::span<const data::Sample> samples, int64_t micro_batch) const;

  AdamW& optimizer() { return optimizer_; }
  const Models& models() const { return models_; }

 private:
  /// The sum of the label losses, on the device. Adds to `counters` what the micro-batch is.
  at::Tensor run_micro_batch(std::span<const data::Sample> samples, double scale, StepCounters* counters);
  void count_micro_batch(std::span<const data::Sample> samples, const data::Batch& batch, StepCounters* counters) const;
  void reduce(const at::Tensor& loss, const StepRequests& requests, StepResult* result);
  [[noreturn]] void diverged(std::span<const data::Sample> samples, const std::vector<int64_t>& mine, const StepResult& result);

  const dist::ProcessGrid& grid_;
  configs::OptimizerConfig config_;
  Models models_;
  model::WorkSizes sizes_;
  AdamW optimizer_;
  PhaseTimer phases_;
  bool count_executed_ = false;
  const model::CachedEncoder* cached_ = dynamic_cast<const model::CachedEncoder*>(&models_.encoder);
};

}  // namespace layalign::trainer
