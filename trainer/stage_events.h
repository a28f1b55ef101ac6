#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "trainer/event_file.h"
#include "trainer/metrics.h"

namespace layalign::trainer {

/// What TensorBoard shows of a stage: the numbers of metrics.jsonl and evaluations.jsonl, the gates, the config.
/// Errors: IoError, in every function of this class.
class StageEvents {
 public:
  /// Begins a file in `folder`, of a run that has done `steps_done` of the stage. `language_layers`: the LLM's layers
  /// that have gates, in the gates' order. `config`: the text of config.yaml.
  StageEvents(const std::filesystem::path& folder, int64_t steps_done, std::vector<int64_t> language_layers,
              const std::string& config);

  void append(const StepMetrics& metrics);
  void append(const EvaluationMetrics& metrics);
  void append(const BenchmarkMetrics& metrics);

 private:
  EventFile file_;
  std::vector<int64_t> language_layers_;
};

}  // namespace layalign::trainer
