#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/evaluation_task.h"
#include "data/sample.h"
#include "dist/process_grid.h"
#include "model/generation.h"
#include "model/trainables.h"
#include "trainer/frozen_models.h"

namespace layalign::trainer {

/// Which parts of a trained system answer.
enum class AnswerMode {
  kLlm,       ///< the frozen LLM alone, with the prompt text
  kMapping,   ///< the mapping without the aligner
  kLayAlign,  ///< everything that the config trains
};

/// "llm", "mapping", "layalign".
std::string_view name_of(AnswerMode mode);
/// Errors: nothing for another name.
std::optional<AnswerMode> answer_mode_named(std::string_view name);

/// A question as the models read it, cut to the limits of `stage`; `prompt`: whether the LLM reads the prompt text.
/// Errors: DataError naming the question's place.
data::Sample question_sample(const data::EvaluationItem& item, const data::Vocabulary& vocabulary,
                             const configs::StageConfig& stage, bool prompt);

/// Generates with a trained system, on all ranks together.
class Answering {
 public:
  /// Keeps references.
  Answering(const dist::ProcessGrid& grid, const Experiment& experiment, const FrozenModels& models,
            model::Trainables& trainables);

  /// Gets, on the first rank alone, the index of a sample and what was generated for it, in no particular order. The
  /// seconds are shares of the wall time: those of data-parallel ranks, which run side by side, are divided by their
  /// number.
  using Answered = model::Generator::Finished;

  /// Generates for `samples`, the same on every rank; they are dealt to the data-parallel ranks. `draw_keys`: as in
  /// Generator::run.
  /// `leave`: asked on every rank before each round of a few batches, and answered alike; true ends it, with all rounds before
  /// answered. Without it a single data-parallel rank makes one round of all.
  /// False where it was left. Collectives: those of generation on tp; gathers on the control channel where there are several
  /// data-parallel ranks.
  bool run(AnswerMode mode, std::span<const data::Sample> samples, const model::GenerationOptions& options,
           const Answered& answered, std::span<const uint64_t> draw_keys = {}, const std::function<bool()>& leave = {}) const;

  /// The system with the parts of a mode.
  model::LayAlign parts(AnswerMode mode) const;

 private:
  const dist::ProcessGrid& grid_;
  const Experiment& experiment_;
  const FrozenModels& models_;
  model::Trainables& trainables_;
};

/// Share of right answers.
struct Accuracy {
  std::vector<std::pair<std::string, double>> by_language;
  double mean = 0;  ///< of the averaged_languages
  int64_t questions = 0;
};

/// `right`: 1 for each of `items` that was answered rightly, else 0. The items of a language stand together.
Accuracy accuracy_of(data::EvaluationTask task, const std::vector<data::EvaluationItem>& items,
                     const std::vector<int64_t>& right);

}  // namespace layalign::trainer
