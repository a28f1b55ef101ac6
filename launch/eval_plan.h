#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "launch/eval_arguments.h"
#include "trainer/benchmark_run.h"
#include "trainer/representations.h"

namespace layalign::launch {

/// Held-out samples of the config's last stage.
struct HeldOut {
  trainer::PreparedStage stage;
  std::vector<int64_t> indices;
};

/// What an evaluation knows before it reads a weight. Everything that can be wrong with it is found here.
struct EvalPlan {
  trainer::Experiment experiment;
  std::vector<trainer::AnswerMode> modes;
  model::GenerationOptions generation;
  std::filesystem::path output;
  std::vector<trainer::BenchmarkPlan> benchmarks;
  std::optional<HeldOut> held_out;        ///< of the task perplexity
  std::optional<trainer::ParallelSentences> sentences;  ///< of the task representations
  std::vector<data::Sample> token_ids;    ///< of the task token_ids
  std::string text_language = "unknown";  ///< of the task text

  /// The stage whose prompts and limits are used: the last one.
  const configs::StageConfig& stage() const { return experiment.config.stages.back(); }
  /// What all ranks must agree on, as dist::require_agreement takes it.
  std::vector<std::pair<std::string, std::string>> agreement() const;
};

/// Errors: ConfigError, ModelError, DataError.
EvalPlan prepare_evaluation(const EvalArguments& arguments, const configs::RunConfig& config);

}  // namespace layalign::launch
