#include "trainer/answering.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "data/tokenizer.h"
#include "trainer/evaluation_report.h"
#include "trainer/train_step.h"

namespace layalign::trainer {
namespace {

constexpr std::array<std::pair<AnswerMode, std::string_view>, 3> kModes{
    {{AnswerMode::kLlm, "llm"}, {AnswerMode::kMapping, "mapping"}, {AnswerMode::kLayAlign, "layalign"}}};

/// Data-parallel ranks hand their answers over after so many batches: often enough that an evaluation that is stopped has lost little.
constexpr int64_t kBatchesInARound = 8;

/// Index, ids and seconds, as they are sent.
using Answers = std::vector<std::tuple<int64_t, std::vector<int64_t>, double>>;

}  // namespace

std::string_view name_of(AnswerMode mode) {
  return std::find_if(kModes.begin(), kModes.end(), [&](const auto& entry) { return entry.first == mode; })->second;
}

std::optional<AnswerMode> answer_mode_named(std::string_view name) {
  for (const auto& [mode, text] : kModes) {
    if (text == name) return mode;
  }
  return std::nullopt;
}

data::Sample question_sample(const data::EvaluationItem& item, const data::Vocabulary& vocabulary,
                             const configs::StageConfig& stage, bool prompt) {
  data::Sample sample;
  sample.source = data::encode_source(*vocabulary.encoder, item.source, item.language, stage.max_source_tokens);
  if (prompt) sample.prompt = data::encode_prompt(*vocabulary.llm, item.prompt, stage.max_target_tokens);
  sample.language = item.language;
  sample.origin = item.origin;
  return sample;
}

Answering::Answering(const dist::ProcessGrid& grid, const Experiment& experiment, const FrozenModels& models,
                     model::Trainables& trainables)
    : grid_(grid), experiment_(experiment), models_(models), trainables_(trainables) {}

model::LayAlign Answering::parts(AnswerMode mode) const {
  const bool whole = mode == AnswerMode::kLayAlign;
  const auto form = mode == AnswerMode::kLlm ? data::InputForm::kText : experiment_.input_form;
  return {*models_.llm, trainables_, whole ? experiment_.language_layers : std::vector<int64_t>(), form,
          model::Recompute::kNone};
}

bool Answering::run(AnswerMode mode, std::span<const data::Sample> samples, const model::GenerationOptions& options,
                    const Answered& answered, std::span<const uint64_t> draw_keys, const std::function<bool()>& leave) const {
  const auto layalign = parts(mode);
  const auto layers = mode == AnswerMode::kLayAlign ? experiment_.encoder_layers : std::vector<int64_t>();
  const model::Generator generator(layalign, *models_.encoder, layers, grid_.tp, grid_.device);
  const auto size = static_cast<int64_t>(samples.size());
  const bool at_once = grid_.dp_size == 1 && !leave;
  const int64_t round = at_once ? size : kBatchesInARound * options.batch * grid_.dp_size;
  for (int64_t begin = 0; begin < size; begin += round) {
    grid_.enter(dist::Section::kEvaluation, begin / round + 1);
    if (leave && leave()) return false;
    const auto part = samples.subspan(begin, std::min(round, size - begin));
    auto mine = deal_samples(part, grid_.dp_size)[grid_.dp_rank];
    for (int64_t& index : mine) index += begin;
    if (grid_.dp_size == 1) {
      const auto on_first = [&](int64_t index, const model::Continuation& made) {
        grid_.enter(dist::Section::kEvaluation, begin / round + 1);
        if (grid_.world_rank == 0) answered(index, made);
      };
      generator.run(samples, mine, options, on_first, draw_keys);
      continue;
    }
    Answers answers;
    const auto keep = [&](int64_t index, const model::Continuation& made) {
      grid_.enter(dist::Section::kEvaluation, begin / round + 1);
      if (grid_.tp_rank == 0) answers.emplace_back(index, made.ids, made.seconds / grid_.dp_size);
    };
    generator.run(samples, mine, options, keep, draw_keys);
    const auto gathered = grid_.process->all_gather(nlohmann::json(answers).dump());
    if (grid_.world_rank != 0) continue;
    for (const auto& text : gathered) {
      for (const auto& [index, ids, seconds] : nlohmann::json::parse(text).get<Answers>())
        answered(index, {ids, seconds});
    }
  }
  return true;
}

Accuracy accuracy_of(data::EvaluationTask task, const std::vector<data::EvaluationItem>& items,
                     const std::vector<int64_t>& right) {
  Accuracy accuracy;
  accuracy.questions = static_cast<int64_t>(items.size());
  std::vector<std::string> languages;
  std::vector<int64_t> counts;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i == 0 || items[i].language != items[i - 1].language) {
      languages.push_back(items[i].language);
      accuracy.by_language.emplace_back(items[i].language, 0);
      counts.push_back(0);
    }
    accuracy.by_language.back().second += static_cast<double>(right[i]);
    ++counts.back();
  }
  const auto averaged = averaged_languages(task, languages);
  for (size_t i = 0; i < counts.size(); ++i) {
    auto& [language, share] = accuracy.by_language[i];
    share /= static_cast<double>(counts[i]);
    if (std::ranges::find(averaged, language) == averaged.end()) continue;
    accuracy.mean += share / static_cast<double>(averaged.size());
  }
  return accuracy;
}

}  // namespace layalign::trainer
