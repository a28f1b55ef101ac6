#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "trainer/evaluation_report.h"

namespace layalign::trainer {

// What an evaluation leaves behind; docs/evaluation.md has the formats. Folders are made, each file is replaced whole.
// Errors: IoError with the path.

/// Writes LANGUAGE.json for each language and scores.tsv into `folder`, in the form of the public code.
void write_public_files(const std::filesystem::path& folder, const TaskReport& report);

/// What the files in the form of lm-evaluation-harness say besides the scores.
struct HarnessRun {
  std::string model_name;   ///< such as the checkpoint's path
  std::string date;         ///< of the start, "2026-01-31T12-00-00": part of the file names, so without '_' and ':'
  double start_s = 0;       ///< the same as seconds since 1970
  double evaluation_s = 0;  ///< wall time
  std::string git_hash;     ///< of the program; may be empty
};

/// Writes results_DATE.json, and samples_TASK_CODE_DATE.jsonl for each language, into `folder`, in the form of
/// lm-evaluation-harness. `config` is its "config" object: model, model_args, batch_size, device, limit, and
/// "gen_kwargs", an object that each task and sample repeats. All reports are of one mode, at most one of them of
/// perplexity.
void write_harness_files(const std::filesystem::path& folder, const std::vector<TaskReport>& reports,
                         const std::vector<PerplexityReport>& perplexity, const HarnessRun& run,
                         const nlohmann::ordered_json& config);

}  // namespace layalign::trainer
