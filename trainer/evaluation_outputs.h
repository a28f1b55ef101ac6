#pragma once

#include <compare>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "data/evaluation_task.h"

namespace layalign::trainer {

/// Which question was answered, and by what.
struct OutputKey {
  std::string task;      ///< "mgsm"
  std::string mode;      ///< "llm", "mapping" or "layalign"
  std::string language;  ///< its English name
  int64_t index = 0;     ///< among the questions of the language, from 0
  std::string asked;     ///< a hash of what was asked: the output to another question is none to this one

  auto operator<=>(const OutputKey&) const = default;
};

OutputKey key_of(data::EvaluationTask task, std::string_view mode, const data::EvaluationItem& item);

/// What the LLM wrote to a question.
struct GeneratedOutput {
  std::string text;    ///< well-formed UTF-8
  int64_t tokens = 0;  ///< generated, eos included
  /// Its share of the time: the shares of a task and mode add up to the time that generating took.
  double generation_s = 0;

  bool operator==(const GeneratedOutput&) const = default;
};

/// The outputs of an evaluation as far as it got: outputs.jsonl. The first line says what made them, so that a later
/// start goes on where this one stopped, and never mixes two models. See docs/evaluation.md for the format. Threads:
/// one at a time; across processes the file is locked while it is open, with a warning where the file system has no locks.
class EvaluationOutputs {
 public:
  /// Opens the file or makes it. `identity`: an object with what the outputs depend on (fingerprints of weights, the
  /// prompt, limits on tokens, ...). Lines torn by a crash (the last one) or a loss of power (those that the disk did
  /// not get whole read as zeros in part) are dropped. Errors: ConfigError where the file has another identity, naming
  /// what differs, and where another process has the file open; IoError with path and line, for a file that is none of
  /// these and when it cannot be read or written.
  EvaluationOutputs(std::filesystem::path path, const nlohmann::json& identity);
  EvaluationOutputs(const EvaluationOutputs&) = delete;
  EvaluationOutputs& operator=(const EvaluationOutputs&) = delete;
  /// Closes without waiting for the disk.
  ~EvaluationOutputs();

  /// The output to a question; null where there is none yet.
  const GeneratedOutput* find(const OutputKey& key) const;

  /// How many there are.
  int64_t size() const { return static_cast<int64_t>(outputs_.size()); }

  /// Adds an output: it is in the file (in the system's hands) when this returns. An output of the same key is
  /// replaced. Errors: IoError.
  void append(const OutputKey& key, const GeneratedOutput& output);

  /// Waits until all is on the disk. Errors: IoError.
  void sync();

 private:
  void lock() const;
  void read(const nlohmann::json& identity);
  /// Returns what is left.
  std::string drop_torn_lines();
  void take_line(const std::string& line, const std::string& where);

  std::filesystem::path path_;
  int descriptor_ = -1;
  std::map<OutputKey, GeneratedOutput> outputs_;
};

}  // namespace layalign::trainer
