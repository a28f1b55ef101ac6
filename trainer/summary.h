#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "trainer/run_folder.h"

namespace layalign::trainer {

/// A stage in a few numbers. Where a stage has no evaluations, its perplexities are infinite and its best step is 0.
struct StageSummary {
  std::string name;
  int64_t steps = 0;
  double first_loss = 0, last_loss = 0;
  double train_s = 0;  ///< the steps alone
  int64_t evaluations = 0;
  int64_t best_step = 0;
  double best_perplexity = std::numeric_limits<double>::infinity();
  double last_perplexity = std::numeric_limits<double>::infinity();
  std::vector<std::pair<std::string, double>> language_perplexity;  ///< of the last evaluation
  std::map<std::string, double> accuracy;  ///< 0 to 1, of each benchmark's last evaluation
};

/// Reads metrics.jsonl and evaluations.jsonl, so it is complete after any number of resumes.
/// Errors: IoError with file and line.
std::vector<StageSummary> summarize_run(const RunFolder& folder);

/// Lines for people: losses and perplexities of each stage, and where everything lies.
std::string summary_text(const RunFolder& folder, const std::vector<StageSummary>& stages);

/// Writes summary.json, which marks the run as finished. Errors: IoError.
void finish_run(const RunFolder& folder, const std::vector<StageSummary>& stages);

}  // namespace layalign::trainer
