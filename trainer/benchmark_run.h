#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "data/evaluation_task.h"
#include "trainer/answering.h"
#include "trainer/evaluation_outputs.h"

namespace layalign::trainer {

/// A benchmark that is answered by one or several modes.
struct BenchmarkPlan {
  data::EvaluationTask task = data::EvaluationTask::kMgsm;
  std::vector<data::EvaluationItem> items;  ///< the same on every rank
  std::vector<AnswerMode> modes;
  model::GenerationOptions generation;
};

/// How a mode reads a question: whether the LLM gets the prompt text. The LLM alone always does; otherwise as in the
/// stage.
bool reads_prompt(AnswerMode mode, const configs::StageConfig& stage);

/// What the draws of a question's output depend on besides the seed: its task, language and index.
uint64_t draw_key(data::EvaluationTask task, const data::EvaluationItem& item);

/// What outputs depend on, the identity of their file: whatever differs in it makes other answers.
nlohmann::json output_identity(const Experiment& experiment, const FrozenModels& models, const model::Trainables& trainables,
                               const configs::StageConfig& stage, const model::GenerationOptions& options);

/// Answers every question that `outputs` does not hold yet, and shows how it advances. `outputs` is on the first rank
/// and null on the others. False where `leave`, as in Answering::run, ended it: what was answered is in the file, on the disk.
/// Collectives: those of Answering::run; broadcasts on the control channel. Errors: IoError on the first rank.
bool run_benchmark(const Answering& answering, const dist::ProcessGrid& grid, const Experiment& experiment,
                   const configs::StageConfig& stage, const BenchmarkPlan& plan, EvaluationOutputs* outputs,
                   const std::function<bool()>& leave);

/// Scores what the first rank's `outputs` hold for every question of the plan, in its first mode; the same on every rank.
/// Collectives: one broadcast on the control channel.
Accuracy score_outputs(const dist::ProcessGrid& grid, const BenchmarkPlan& plan, const EvaluationOutputs* outputs);

}  // namespace layalign::trainer
