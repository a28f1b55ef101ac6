#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "configs/schema.h"
#include "data/evaluation_task.h"
#include "data/open_dataset.h"
#include "data/text_file.h"

namespace layalign::data {

/// Something that was seen in samples: how often, and where first.
struct Finding {
  int64_t count = 0;
  std::vector<std::string> places;  ///< of the first few

  void add(const std::string& place);
};

/// Tokens of every sample before anything is cut, and the limit to which training cuts.
struct Lengths {
  std::vector<int32_t> tokens;
  int64_t limit = 0;

  int64_t cut() const;
  /// The smallest length that `share` of the samples do not exceed; 0 without samples.
  int32_t quantile(double share) const;
};

/// What stands in a corpus or a benchmark.
struct DatasetFacts {
  std::vector<std::string> files;
  std::vector<std::string> languages;
  std::vector<int64_t> samples;     ///< of each language
  std::vector<std::string> groups;  ///< of each sample, see Dataset::group; of a corpus only
  Lengths source, prompt, target;   ///< empty where there are none, or no tokenizers
  Finding empty_sources, empty_targets;
  Finding repeated;        ///< the same language, source, prompt and target once more
  Finding damaged;         ///< U+FFFD: bytes that another program could not read
  Finding unknown;         ///< "LANGUAGE at PLACE": not in configs/languages.h, and not "unknown" either
  Finding test_questions;  ///< "PLACE is PLACE": source or target is a question of a benchmark

  int64_t size() const { return static_cast<int64_t>(groups.size()); }
};

/// Questions by what they say, and where they stand: letter case (of ASCII) and white space do not count.
class QuestionIndex {
 public:
  void add(const std::vector<EvaluationItem>& items);
  /// Where the question stands; null where it is none of them.
  const std::string* find(const std::string& text) const;

 private:
  std::unordered_map<uint64_t, std::string> places_;  // by hash
};

/// Reads a stage's corpus row by row, as training does, without keeping its text. A `vocabulary` without tokenizers
/// gives no lengths. Problems go to `on_problem`.
DatasetFacts check_corpus(const configs::StageConfig& stage, const configs::DataConfig& data,
                          const std::filesystem::path& config_folder, const Vocabulary& vocabulary,
                          const QuestionIndex& questions, const ProblemHandler& on_problem);

/// The same for the questions of a benchmark, which a stage's limits cut.
DatasetFacts check_questions(const std::vector<EvaluationItem>& items, const configs::StageConfig& stage,
                             const Vocabulary& vocabulary, const ProblemHandler& on_problem);

}  // namespace layalign::data
