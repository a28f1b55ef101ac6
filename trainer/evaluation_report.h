#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/evaluation_task.h"
#include "trainer/evaluation_outputs.h"
#include "trainer/scoring.h"

namespace layalign::trainer {

/// A question with what was written to it.
struct ScoredItem {
  data::EvaluationItem item;
  GeneratedOutput output;
  Score score;
};

/// Both ends in percent.
struct Interval {
  double low = 0, high = 0;
};

/// The 95 % interval of Wilson for a share of `accuracy` (0 to 1) among `samples`.
Interval wilson_interval(double accuracy, double samples);

/// How many answers of a language are right.
struct LanguageScore {
  std::string language;
  int64_t samples = 0;
  int64_t correct = 0;
  int64_t tokens = 0;       ///< generated
  double generation_s = 0;  ///< in which they were

  /// 0 to 1.
  double accuracy() const;
  /// Of the accuracy: sample deviation / sqrt(samples). NaN for one sample.
  double standard_error() const;
};

/// A mean of accuracies, each language counting the same.
struct AverageScore {
  std::string name;           ///< "low-resource", "high-resource" or "average"
  double accuracy = 0;        ///< 0 to 1
  double standard_error = 0;  ///< as if the languages were independent; NaN where a language has one sample
  /// The samples that would give one language the same standard error; for wilson_interval.
  double effective_samples = 0;
  int64_t samples = 0;
  int64_t tokens = 0;
  double generation_s = 0;
};

/// Whether the paper counts the language in its averages of a benchmark. MGSM has a language more: Telugu.
bool is_averaged(data::EvaluationTask task, const std::string& language);

/// Those of a benchmark's languages that make its average: those that is_averaged says yes to, or all where there is
/// none.
std::vector<std::string> averaged_languages(data::EvaluationTask task, const std::vector<std::string>& languages);

/// A benchmark with the outputs of one mode.
struct TaskReport {
  data::EvaluationTask task;
  std::string mode;                      ///< "llm", "mapping" or "layalign"
  std::vector<ScoredItem> items;         ///< a language after the other
  std::vector<LanguageScore> languages;  ///< in the order of the items
  std::vector<AverageScore> averages;    ///< "average" last; a group without a language is left out
};

/// Scores the outputs of a mode to the questions of a benchmark.
///
/// Groups as in the paper's MGSM: Bengali, Thai and Swahili are low-resource languages, all others high-resource ones.
/// The average is that of the averaged_languages; no other language is in an average. The items of a language stand
/// together; there must be at least one. Errors: std::out_of_range where one has no output.
TaskReport make_report(data::EvaluationTask task, const std::string& mode,
                       const std::vector<data::EvaluationItem>& items, const EvaluationOutputs& outputs);

/// Perplexity of one mode.
struct PerplexityReport {
  struct Row {
    std::string language;
    double perplexity = 0;
    int64_t label_tokens = 0;
  };

  std::string mode;
  std::vector<Row> languages;
  double perplexity = 0;  ///< over all label tokens
  int64_t label_tokens = 0;
};

// Tables for people, in lines that end with '\n'. Several reports stand side by side; they must be of the same task and
// languages. `reports` is not empty.
std::string score_table(const std::vector<TaskReport>& reports);
std::string perplexity_table(const std::vector<PerplexityReport>& reports);

}  // namespace layalign::trainer
