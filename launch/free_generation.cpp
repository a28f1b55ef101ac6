#include "launch/free_generation.h"

#include <unistd.h>

#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "data/error.h"
#include "data/prompts.h"
#include "data/text_file.h"
#include "data/token_ids.h"
#include "data/tokenizer.h"
#include "data/utf8.h"
#include "trainer/benchmark_run.h"
#include "trainer/durable_file.h"

namespace layalign::launch {
namespace {

/// The prompt that the last stage was trained with, for a text.
std::string prompt_of(const configs::StageConfig& stage, const std::string& text, const std::string& language) {
  const auto& corpus = stage.corpus;
  if (corpus.format == "bilingual_pairs" || corpus.task == "translation") return data::translation_prompt(text, language, "English");
  if (corpus.format == "metamath" || corpus.format == "msvamp") return data::math_prompt(text);
  return text;
}

data::Sample sample_of(const FreeGeneration& free, const std::string& text, const std::string& language, const std::string& origin) {
  const auto& stage = free.experiment.config.stages.back();
  const data::EvaluationItem item{language, text, prompt_of(stage, text, language), "", 0, origin};
  return trainer::question_sample(item, free.experiment.vocabulary, stage, trainer::reads_prompt(free.mode, stage));
}

std::string on_one_line(const std::string& text) {
  std::string line;
  for (char c : text) {
    if (c == '\n') line += "\\n";
    else if (c != '\r') line += c;
  }
  return line;
}

std::vector<std::string> read_lines(const std::string& input) {
  std::vector<std::string> lines;
  const auto take = [&](std::string_view line) { lines.emplace_back(line); };
  if (!input.empty()) {
    data::for_each_line(input, [&](std::string_view line, int64_t) { return take(line), true; });
    return lines;
  }
  for (std::string line; std::getline(std::cin, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (data::first_invalid_utf8(line)) {
      throw data::DataError("standard input:" + std::to_string(lines.size() + 1) + ": not UTF-8");
    }
    take(line);
  }
  return lines;
}

/// Answers lines that are all there, and prints each as soon as those before it are printed.
void answer_all(const FreeGeneration& free, const std::string& input, const std::string& language) {
  std::string packed;
  free.together([&] {
    if (free.grid.world_rank == 0) packed = nlohmann::json(read_lines(input)).dump();
  });
  const auto lines = nlohmann::json::parse(free.grid.process->broadcast(packed, 0)).get<std::vector<std::string>>();
  std::vector<data::Sample> samples;
  free.together([&] {
    for (size_t i = 0; i < lines.size(); ++i) {
      samples.push_back(sample_of(free, lines[i], language, (input.empty() ? "standard input" : input) + ":" + std::to_string(i + 1)));
    }
  });
  std::map<int64_t, std::string> waiting;
  int64_t next = 0;
  free.answering.run(free.mode, samples, free.options, [&](int64_t index, const std::vector<int64_t>& ids) {
    waiting[index] = on_one_line(free.experiment.vocabulary.llm->decode(ids));
    for (auto found = waiting.find(next); found != waiting.end(); found = waiting.find(++next)) {
      std::cout << found->second << "\n" << std::flush;
      waiting.erase(found);
    }
  });
}

/// Asks for a line on the terminal of the first rank; nothing at its end.
std::optional<std::string> ask(const dist::ProcessGrid& grid) {
  nlohmann::json asked;  // null at the end
  if (grid.world_rank == 0) {
    std::cerr << "> " << std::flush;
    if (std::string line; std::getline(std::cin, line)) asked = data::first_invalid_utf8(line) ? "" : line;
    else std::cerr << "\n";
  }
  asked = nlohmann::json::parse(grid.process->broadcast(asked.dump(), 0));
  return asked.is_null() ? std::nullopt : std::optional(asked.get<std::string>());
}

}  // namespace

void continue_token_ids(const FreeGeneration& free, const std::filesystem::path& input, const std::filesystem::path& folder) {
  std::vector<data::Sample> samples;
  free.together([&] { samples = data::read_token_id_prompts(input, free.experiment.vocabulary); });
  std::vector<std::vector<int64_t>> generated(samples.size());
  free.answering.run(free.mode, samples, free.options, [&](int64_t index, const std::vector<int64_t>& ids) { generated[index] = ids; });
  if (free.grid.world_rank != 0) return;
  std::string text;
  for (const auto& ids : generated) text += nlohmann::json{{"ids", ids}}.dump() + "\n";
  std::error_code error;
  std::filesystem::create_directories(folder, error);  // a failure shows when the file is written
  trainer::write_file_durably(folder / "generated.jsonl", text);
  std::cout << "generated: " << (folder / "generated.jsonl").string() << "\n" << std::flush;
}

void answer_lines(const FreeGeneration& free, const std::string& input, const std::string& language) {
  const bool terminal = free.grid.process->broadcast(input.empty() && isatty(STDIN_FILENO) ? "terminal" : "", 0) == "terminal";
  if (!terminal) return answer_all(free, input, language);
  while (const auto line = ask(free.grid)) {
    if (line->empty()) continue;
    const std::vector<data::Sample> samples = {sample_of(free, *line, language, "standard input")};
    free.answering.run(free.mode, samples, free.options, [&](int64_t, const std::vector<int64_t>& ids) {
      std::cout << free.experiment.vocabulary.llm->decode(ids) << "\n" << std::flush;
    });
  }
}

}  // namespace layalign::launch
