#pragma once

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

/// Answers every question that `outputs` does not hold yet, and shows how it advances. `outputs` is on the first rank
/// and null on the others. Collectives: those of Answering::run; broadcasts on the control channel, gathers before every round.
/// Errors: IoError on the first rank; StoppedError on every rank where one was asked to stop.
void run_benchmark(const Answering& answering, const dist::ProcessGrid& grid, const Experiment& experiment,
                   const configs::StageConfig& stage, const BenchmarkPlan& plan, EvaluationOutputs* outputs);

}  // namespace layalign::trainer
