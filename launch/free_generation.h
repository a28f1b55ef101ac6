#pragma once

#include <filesystem>
#include <functional>
#include <string>

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

/// Continues each line {source, prompt} of token ids of `input` and writes `folder`/generated.jsonl, a line {"ids": [...]} each, in
/// the order of the input. Errors: DataError with file and line; IoError.
void continue_token_ids(const FreeGeneration& free, const std::filesystem::path& input, const std::filesystem::path& folder);

/// Generates for each line of text of `input` (empty: standard input) and prints a line each, in the order of the input; a line end
/// within an answer is printed as \n. In front of a person (standard input is a terminal) it asks for a line, answers, and asks
/// again. The encoder reads the line, the LLM the prompt of the config's last stage where that stage has one. `language`: of the
/// lines, English name or "unknown".
void answer_lines(const FreeGeneration& free, const std::string& input, const std::string& language);

}  // namespace layalign::launch
