#include "launch/free_generation.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iomanip>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "checkpoints_tools/file_operations.h"
#include "data/text_corpus.h"
#include "data/token_ids.h"
#include "data/tokenizer.h"
#include "dist/process.h"
#include "launch/line_source.h"
#include "model/error.h"
#include "trainer/benchmark_run.h"
#include "trainer/durable_file.h"
#include "trainer/scoring.h"

namespace layalign::launch {
namespace {

data::Sample sample_of(const FreeGeneration& free, const std::string& text, const std::string& language,
                       const std::string& origin) {
  const auto& stage = free.experiment.config.stages.back();
  const auto prompt = data::prompt_of(data::prompt_kind_of(stage.corpus), text, language);
  const data::EvaluationItem item{language, text, prompt, "", 0, origin};
  return trainer::question_sample(item, free.experiment.vocabulary, stage, trainer::reads_prompt(free.mode, stage));
}

std::string on_one_line(const std::string& text) {
  std::string line;
  for (char c : text) {
    if (c == '\n')
      line += "\\n";
    else if (c != '\r')
      line += c;
  }
  return line;
}

/// Lines of text and what is asked of the models for them; nothing for a blank line.
struct Questions {
  std::vector<data::Sample> samples;
  std::vector<size_t> lines;        // of each sample
  std::vector<uint64_t> draw_keys;  // of each sample: the number of its line
};

Questions questions_of(const FreeGeneration& free, const std::vector<std::string>& lines, int64_t before,
                       const std::string& input, const std::string& language) {
  Questions questions;
  for (size_t i = 0; i < lines.size(); ++i) {
    const int64_t number = before + static_cast<int64_t>(i) + 1;
    if (trainer::strip(lines[i]).empty()) continue;
    auto sample =
        sample_of(free, lines[i], language, (input.empty() ? "standard input" : input) + ":" + std::to_string(number));
    if (sample.source.empty()) continue;  // nothing that the encoder sees, such as a zero-width space alone
    questions.samples.push_back(std::move(sample));
    questions.lines.push_back(i);
    questions.draw_keys.push_back(static_cast<uint64_t>(number));
  }
  return questions;
}

/// Prints answers in the order of the lines, each as soon as those before it are printed.
class Printer {
 public:
  explicit Printer(size_t lines) : answers_(lines) {}

  void answer(size_t line, const std::string& text) {
    answers_[line] = text;
    for (; next_ < answers_.size() && answers_[next_]; ++next_) std::cout << *answers_[next_] << "\n" << std::flush;
  }

 private:
  std::vector<std::optional<std::string>> answers_;
  size_t next_ = 0;
};

/// Answers `lines`, before which `before` others came.
void answer(const FreeGeneration& free, const std::vector<std::string>& lines, int64_t before, const std::string& input,
            const std::string& language, bool terminal) {
  Questions questions;
  free.together([&] { questions = questions_of(free, lines, before, input, language); });
  Printer printer(lines.size());
  if (free.grid.world_rank == 0 && !terminal) {
    for (size_t i = 0; i < lines.size(); ++i) {
      if (!std::ranges::binary_search(questions.lines, i)) printer.answer(i, "");
    }
  }
  const auto print = [&](int64_t index, const model::Continuation& made) {
    const auto text = free.experiment.vocabulary.llm->decode(made.ids);
    if (terminal)
      std::cout << text << "\n" << std::flush;
    else
      printer.answer(questions.lines[index], on_one_line(text));
  };
  free.answering.run(free.mode, questions.samples, free.options, print, questions.draw_keys);
}

}  // namespace

std::vector<data::Sample> read_token_ids(const trainer::Experiment& experiment, trainer::AnswerMode mode,
                                         const std::filesystem::path& input, int64_t max_new_tokens) {
  auto samples = data::read_token_id_prompts(input, experiment.vocabulary);
  const bool llm_alone = mode == trainer::AnswerMode::kLlm;
  const bool mapped = !llm_alone && experiment.input_form == data::InputForm::kMapped;
  for (const auto& sample : samples) {
    const auto source = static_cast<int64_t>(sample.source.size()), prompt = static_cast<int64_t>(sample.prompt.size());
    try {
      if (!llm_alone) experiment.encoder.check_source_length(source);
      // bos, and end_boundary behind the mapped source
      experiment.llm.check_sequence_length(experiment.llm_folder,
                                           1 + (mapped ? source + 1 : 0) + prompt + max_new_tokens);
    } catch (const model::ModelError& error) {
      throw model::ModelError(sample.origin + ": " + error.what() +
                              "; here, shorten the line or lower --max-new-tokens");
    }
  }
  return samples;
}

void continue_token_ids(const FreeGeneration& free, const std::vector<data::Sample>& samples,
                        const std::filesystem::path& folder) {
  std::vector<std::vector<int64_t>> generated(samples.size());
  const auto start = std::chrono::steady_clock::now();
  const auto keep = [&](int64_t index, const model::Continuation& made) { generated[index] = made.ids; };
  free.answering.run(free.mode, samples, free.options, keep);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (free.grid.world_rank != 0) return;
  std::string text;
  size_t tokens = 0;
  for (const auto& ids : generated) {
    text += nlohmann::json{{"ids", ids}}.dump() + "\n";
    tokens += ids.size();
  }
  checkpoints_tools::make_folder(folder);
  trainer::write_file_durably(folder / "generated.jsonl", text);
  std::cout << "generated " << tokens << " tokens in " << std::fixed << std::setprecision(3) << seconds << " s ("
            << std::setprecision(1) << static_cast<double>(tokens) / seconds
            << " tokens/s): " << (folder / "generated.jsonl").string() << "\n"
            << std::flush;
}

bool prompt_names_language(const configs::StageConfig& stage, trainer::AnswerMode mode) {
  return trainer::reads_prompt(mode, stage) && data::prompt_kind_of(stage.corpus) == data::PromptKind::kTranslation;
}

void answer_lines(const FreeGeneration& free, const std::string& input, const std::string& language) {
  const auto& process = *free.grid.process;
  const bool first = free.grid.world_rank == 0;
  std::optional<LineSource> source;
  free.together([&] {
    if (first) source.emplace(input, dist::read_launch_environment(std::getenv).under_mpi);
  });
  for (int64_t answered = 0;;) {
    std::string packed;
    free.together([&] {
      if (first) packed = nlohmann::json(source->next()).dump();
    });
    const auto lines = nlohmann::json::parse(process.broadcast(packed, 0)).get<std::vector<std::string>>();
    if (lines.empty()) return;
    answer(free, lines, answered, input, language, first && source->is_terminal());
    answered += static_cast<int64_t>(lines.size());
  }
}

}  // namespace layalign::launch
