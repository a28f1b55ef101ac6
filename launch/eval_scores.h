#pragma once

#include <ctime>
#include <string>
#include <vector>

#include "launch/eval_plan.h"
#include "trainer/evaluation_report.h"

namespace layalign::launch {

/// Tables on standard output and files in the output folder, for the first rank. Errors: IoError.
class EvalScores {
 public:
  /// `checkpoint`: what is evaluated, for the files. Keeps a reference.
  EvalScores(const EvalPlan& plan, std::string checkpoint, std::string device);

  /// Shows the table of a benchmark and writes the files of the public code.
  void add(const trainer::BenchmarkPlan& benchmark, const trainer::EvaluationOutputs& outputs);
  /// Shows the table.
  void add(std::vector<trainer::PerplexityReport> reports);
  /// Writes the files in the form of lm-evaluation-harness; `limit`: of the command line.
  void write(std::optional<int64_t> limit) const;

 private:
  nlohmann::ordered_json harness_config(trainer::AnswerMode mode, std::optional<int64_t> limit) const;

  const EvalPlan& plan_;
  std::string checkpoint_, device_;
  std::time_t started_ = std::time(nullptr);
  std::vector<trainer::TaskReport> tasks_;
  std::vector<trainer::PerplexityReport> perplexities_;
};

}  // namespace layalign::launch
