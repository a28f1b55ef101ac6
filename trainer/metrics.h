#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "checkpoints_tools/file_operations.h"
#include "trainer/step_counters.h"

namespace layalign::trainer {

/// What one optimiser step did: one line of metrics.jsonl.
struct StepMetrics {
  std::string stage;         ///< name of the stage
  int64_t stage_index = 0;   ///< 0 for the first; files and screens show it from 1
  int64_t step = 0;          ///< steps done in the stage, this one included: 1 for the first
  double epoch = 0;          ///< passes through the stage's corpus, this step included
  double loss = 0;           ///< before the update, mean over the label tokens of the global batch
  double grad_norm = 0;      ///< before clipping
  double lr = 0;             ///< of this update
  int64_t samples = 0;       ///< of the global batch
  int64_t label_tokens = 0;  ///< of the global batch
  double tokens_per_s = 0;   ///< LLM tokens of the global batch per second
  double samples_per_s = 0;
  double step_s = 0;
  int64_t peak_memory_bytes = 0;  ///< of the fullest rank
  std::vector<float> gates;       ///< after this update, in the order of language_layers; of dynamic gates the biases. Empty: not told
  int64_t llm_tokens = 0;         ///< of the global batch; told with the counters
  std::optional<double>
      mfu;  ///< 4 FLOPs a weight of the LLM's layers and token, of the GPUs' peak; told where that is known
  std::optional<PhaseSeconds> phase_s;   ///< of the first rank; told by some steps
  std::optional<StepCounters> counters;  ///< told by some steps
};

/// What one evaluation on the dev set found: one line of evaluations.jsonl.
struct EvaluationMetrics {
  std::string stage;
  int64_t stage_index = 0;
  int64_t step = 0;       ///< steps done in the stage
  double loss = 0;        ///< mean over all label tokens
  double perplexity = 0;  ///< exp(loss)
  int64_t samples = 0;
  int64_t label_tokens = 0;
  bool best = false;  ///< the lowest perplexity of the stage so far
  double evaluation_s = 0;
  std::vector<std::pair<std::string, double>> language_perplexity;  ///< in the corpus's order of languages
};

/// What one benchmark scored while training: a line of evaluations.jsonl too, with `task`.
struct BenchmarkMetrics {
  std::string stage;
  int64_t stage_index = 0;
  int64_t step = 0;      ///< steps done in the stage
  std::string task;      ///< "mgsm"
  double accuracy = 0;   ///< 0 to 1, mean of the languages
  int64_t questions = 0;
  double evaluation_s = 0;
  std::vector<std::pair<std::string, double>> language_accuracy;
};

/// The line without its newline: a JSON object with its keys in the order of the struct; `loss` and `grad_norm` have 9
/// significant digits, which is every float32 exactly, and so have `gates`, a key that only some steps have, as `mfu`,
/// `phase_s` and `counters` are. A number that is not finite becomes null.
std::string to_json(const StepMetrics& metrics);
std::string to_json(const EvaluationMetrics& metrics);
std::string to_json(const BenchmarkMetrics& metrics);

/// metrics.jsonl or evaluations.jsonl of a run, open for appending: a line is in the file (in the system's hands) when
/// `append` returns.
class MetricsFile {
 public:
  /// Opens the file, or makes it.
  /// Errors: IoError with the path, in every function of this class.
  explicit MetricsFile(std::filesystem::path path);

  void append(const StepMetrics& metrics) { append_line(to_json(metrics)); }
  void append(const EvaluationMetrics& metrics) { append_line(to_json(metrics)); }
  void append(const BenchmarkMetrics& metrics) { append_line(to_json(metrics)); }

  /// Drops, at a resume, the lines of steps that will be done again (those after `step` of the stage, and of later
  /// stages) and a line that was torn by a crash. Returns the number of dropped lines.
  int64_t truncate_after(int64_t stage_index, int64_t step);

  /// How many lines the file has. Errors: IoError.
  int64_t lines() const;

  /// Waits until the lines are on the disk. Call it before a checkpoint is made, so that a checkpoint never knows more
  /// steps than the file, even after a power failure.
  void sync();

 private:
  void append_line(std::string line);

  std::filesystem::path path_;
  checkpoints_tools::FileWriter file_;
};

}  // namespace layalign::trainer
