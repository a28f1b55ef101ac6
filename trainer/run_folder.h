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
///     OUTPUT/origin                  the checkpoint of another run at which this one began (--resume CHECKPOINT), if
///     it did OUTPUT/metrics.jsonl           a line a step OUTPUT/evaluations.jsonl       a line an evaluation
///     OUTPUT/summary.json            written last: the run is finished
///     OUTPUT/latest                  the newest checkpoint, "1-translation/step-00000200": a hint, resuming looks for
///     itself OUTPUT/1-translation/          a folder a stage:
///       trainables.safetensors         the end of the stage
///       best.safetensors               the lowest perplexity on the dev set
///       answers.jsonl                  to the benchmarks that were scored last, as layalign-eval writes its outputs
///       held-out.json                  of a perplexity whose evaluation was stopped: its sums so far
///       step-00000200/                 training states, see training_state.h
///     OUTPUT/tensorboard/            a folder a stage: events for TensorBoard, see stage_events.h
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
  std::filesystem::path origin() const { return output_ / kOrigin; }
  std::filesystem::path metrics() const { return output_ / "metrics.jsonl"; }
  std::filesystem::path evaluations() const { return output_ / "evaluations.jsonl"; }
  std::filesystem::path grid() const { return output_ / "grid.json"; }
  std::filesystem::path summary() const { return output_ / kSummary; }
  std::filesystem::path evaluation() const { return output_ / kEvaluation; }
  std::filesystem::path events(int64_t stage_index) const {
    return output_ / "tensorboard" / stages_.at(stage_index).filename();
  }
  std::filesystem::path trainables(int64_t stage_index) const { return stages_.at(stage_index) / kTrainables; }
  std::filesystem::path best(int64_t stage_index) const { return stages_.at(stage_index) / kBest; }
  std::filesystem::path answers(int64_t stage_index) const { return stages_.at(stage_index) / "answers.jsonl"; }
  std::filesystem::path held_out(int64_t stage_index) const { return stages_.at(stage_index) / "held-out.json"; }

  static constexpr const char* kConfig = "config.yaml";
  static constexpr const char* kOrigin = "origin";
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
/// `changed` gets the differences that a resume may have, as configs::differences words them: `log`, `checkpoint`,
/// `comm`, `eval`, `watchdog`, `output`, `stop_after`, `parallel` without its precision, `cache` without its dtype and
/// whether there is one, `optimizer.skip_nonfinite`, `micro_batch` where the loss is normalized by tokens; and, of a
/// run that has not finished, where models and data lie: whether they are the same ones is for the fingerprints of a
/// checkpoint to tell. Errors: ConfigError where the folder holds a run with another config (every differing key is
/// named), or files that are no run: a run never writes among foreign files.
RunState inspect_run(const RunFolder& folder, const configs::RunConfig& config, std::vector<std::string>* changed);

/// In what `config` differs from that of `run`, one of whose checkpoints it is to go on from in an output of its own.
/// Errors: ConfigError where the trained weights are others (section `model`), or the run has no config that can be
/// read.
std::vector<std::string> differences_from(const std::filesystem::path& run, const configs::RunConfig& config);

/// The checkpoint at which a run that has begun began; empty: at the start. Errors: IoError.
std::filesystem::path origin_of(const RunFolder& folder);

/// The right to write into a run folder, until the object or the process ends. For one rank of the run.
class RunLock {
 public:
  /// Waits up to `patience_s` for another holder, such as the killed run that is being requeued. Makes the folder. Warns where the
  /// file system has no locks.
  /// Errors: ConfigError naming process and host of the holder; IoError.
  explicit RunLock(const RunFolder& folder, double patience_s = 5.0);
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;
  ~RunLock();

 private:
  int descriptor_ = -1;
};

/// Makes the folders of the stages, writes config.yaml and `origin` (empty: there is none), and removes what a killed
/// run left half-written. For the rank that holds the lock, before anything else is written. Errors: IoError.
void begin_run(const RunFolder& folder, const configs::RunConfig& config, const std::filesystem::path& origin);

}  // namespace layalign::trainer
