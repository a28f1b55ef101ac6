#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/text_file.h"

namespace layalign::data {

/// A benchmark whose answers are generated and scored.
enum class EvaluationTask { kMgsm, kMsvamp, kXCsqa, kXnli };

/// Its name in configs and on command lines: "mgsm", "msvamp", "x_csqa", "xnli".
std::string_view name_of(EvaluationTask task);

/// The benchmark of a name; nothing for another name.
std::optional<EvaluationTask> evaluation_task_named(std::string_view name);

/// Whether its answers are numbers (mgsm, msvamp) and not labels.
bool is_math(EvaluationTask task);

/// One question of a benchmark.
struct EvaluationItem {
  std::string language;  ///< its English name
  std::string source;    ///< what the encoder reads: the question alone (math), or the whole prompt
  std::string prompt;    ///< what the LLM reads
  std::string answer;    ///< the reference: a number without commas (math), or a label
  int64_t index = 0;     ///< among the questions of its language, from 0
  std::string origin;    ///< where it stands: "file:line", in an array "file:line (item n)"
};

/// Reads a benchmark in the public layout under `data_root`, a language after the other, the first `limit` questions of
/// each. `languages`: by English name, in this order; empty: every language that has questions. Errors: DataError with
/// file and line for what cannot be a question; with path and language where a listed language has no questions. What goes
/// to `on_problem` costs a question, or what of a file is behind them.
std::vector<EvaluationItem> read_evaluation(EvaluationTask task, const std::filesystem::path& data_root,
                                            const std::vector<std::string>& languages,
                                            std::optional<int64_t> limit = std::nullopt,
                                            const ProblemHandler& on_problem = {});

}  // namespace layalign::data
