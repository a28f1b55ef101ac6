#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "trainer/answering.h"

namespace layalign::launch {

/// What generating outside of a benchmark needs.
struct FreeGeneration {
  const dist::ProcessGrid& grid;
  const trainer::Experiment& experiment;
  const trainer::Answering& answering;
  trainer::AnswerMode mode;
  model::GenerationOptions options;
  trainer::Together together;
};

/// The lines {source, prompt} of token ids of `input`, which fit the models with `max_new_tokens` more.
/// Errors: DataError and ModelError with file and line.
std::vector<data::Sample> read_token_ids(const trainer::Experiment& experiment, trainer::AnswerMode mode,
                                         const std::filesystem::path& input, int64_t max_new_tokens);

/// Continues `samples` and writes `folder`/generated.jsonl, a line {"ids": [...]} each, in their order. Errors:
/// IoError.
void continue_token_ids(const FreeGeneration& free, const std::vector<data::Sample>& samples,
                        const std::filesystem::path& folder);

/// Whether the LLM's prompt for a line of text names the language of the line.
bool prompt_names_language(const configs::StageConfig& stage, trainer::AnswerMode mode);

/// Generates for each line of text of `input` (empty: standard input) and prints a line each, in the order of the
/// input, as soon as it is there; a line end within an answer is printed as \n, a blank line is answered by an empty
/// one. In front of a person it asks for a line, answers, and asks again. The encoder reads the line, the LLM the
/// prompt of the config's last stage where that stage has one. `language`: of the lines, English name or "unknown".
/// Errors: DataError naming the line that is not UTF-8.
void answer_lines(const FreeGeneration& free, const std::string& input, const std::string& language);

}  // namespace layalign::launch
