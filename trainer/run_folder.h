#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "configs/schema.h"

namespace layalign::trainer {

/// Where everything of a run lies. Touches no disk.
///
///     OUTPUT/config.yaml             every key as the run uses it
///     OUTPUT/metrics.jsonl           a line a step
///     OUTPUT/evaluations.jsonl       a line an evaluation
///     OUTPUT/summary.json            written last: the run is finished
///     OUTPUT/latest                  the newest checkpoint, "1-translation/step-00000200": a hint, resuming looks for
///     itself OUTPUT/1-translation/          a folder a stage:
///       trainables.safetensors         the end of the stage
///       best.safetensors               the lowest perplexity on the dev set
///       step-00000200/                 training states, see training_state.h
///     OUTPUT/evaluation/             what layalign-eval writes by default
///     OUTPUT/grid.json               what parallel.tensor: auto chose, and why
///     OUTPUT/.lock                   held while a run writes here
class RunFolder {
 public:
  RunFolder(std::filesystem::path output, const std::vector<configs::StageConfig>& stages);

  const std::filesystem::path& output() const { return output_; }
  /// Folders of the stages, in order.
  const std::vector<std::filesystem::path>& stages() const { return stages_; }
  std::filesystem::path config() const { return output_ / kConfig; }
  std::filesystem::path metrics() const { return output_ / "metrics.jsonl"; }
  std::filesystem::path evaluations() const { return output_ / "evaluations.jsonl"; }
  std::filesystem::path grid() const { return output_ / "grid.json"; }
  std::filesystem::path summary() const { return output_ / kSummary; }
  std::filesystem::path evaluation() const { return output_ / kEvaluation; }
  std::filesystem::path trainables(int64_t stage_index) const { return stages_.at(stage_index) / kTrainables; }
  std::filesystem::path best(int64_t stage_index) const { return stages_.at(stage_index) / kBest; }

  static constexpr const char* kConfig = "config.yaml";
  static constexpr const char* kSummary = "summary.json";
  static constexpr const char* kTrainables = "trainables.safetensors";
  static constexpr const char* kBest = "best.safetensors";
  static constexpr const char* kEvaluation = "evaluation";

 private:
  std::filesystem::path output_;
  std::vector<std::filesystem::path> stages_;
};

/// The stage folders "N-name" that lie in `run`, by their number N from 1, whatever the config says.
std::map<int64_t, std::filesystem::path> stage_folders(const std::filesystem::path& run);
/// The number N of a stage's folder "N-name"; 0 for another name.
int64_t stage_number(const std::string& folder_name);

enum class RunState {
  kFresh,     ///< nothing there yet
  kResume,    ///< a run with this config that has not finished
  kFinished,  ///< a run with this config that has finished: change nothing
};

/// What `folder` holds, seen from a run with `config`. Only reads, so that one rank can look and tell the others.
/// `changed` gets the differences that a resume may have (`log`, `checkpoint`, `comm`, `eval`, `output`, `parallel` without its
/// precision), as configs::differences words them.
/// Errors: ConfigError where the folder holds a run with another config (every differing key is named), or files that
/// are no run: a run never writes among foreign files.
RunState inspect_run(const RunFolder& folder, const configs::RunConfig& config, std::vector<std::string>* changed);

/// Compares the config of the run in `output` with `config`, as inspect_run does. Errors: ConfigError, where they differ in what a
/// resume must not change, or the run has no config.
void require_resumable(const std::filesystem::path& output, const configs::RunConfig& config, std::vector<std::string>* changed);

/// The right to write into a run folder, until the object or the process ends. For one rank of the run.
class RunLock {
 public:
  /// Waits up to `patience_s` for another holder, such as the killed run that is being requeued. Makes the folder.
  /// Errors: ConfigError naming process and host of the holder; IoError.
  explicit RunLock(const RunFolder& folder, double patience_s = 5.0);
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;
  ~RunLock();

 private:
  int descriptor_ = -1;
};

/// Makes the folders of the stages, writes config.yaml and removes what a killed run left half-written. For the rank
/// that holds the lock, before anything else is written. Errors: IoError.
void begin_run(const RunFolder& folder, const configs::RunConfig& config);

}  // namespace layalign::trainer
