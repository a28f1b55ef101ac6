#include "data/prompts.h"

namespace layalign::data {
namespace {

template <typename... Parts>
std::string concat(const Parts&... parts) {
  std::string text;
  (text.append(parts), ...);
  return text;
}

}  // namespace

std::string math_prompt(std::string_view query) {
  return concat(
      "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
      "### Instruction:\n",
      query, "\n\n### Response: Let's think step by step.");
}

std::string translation_prompt(std::string_view query, std::string_view source_language,
                               std::string_view target_language) {
  return concat(
      "Below is an instruction that describes a task, paired with an input that provides further context. "
      "Write a response that appropriately completes the request.\n"
      "### Instruction:\nTranslate the following sentences from ",
      source_language, " to ", target_language, ".\n### Input:\n", query, "\n### Response:");
}

std::string x_csqa_prompt(std::string_view stem, std::span<const std::string> options) {
  std::string text = concat(stem, "\nOptions:");
  for (size_t i = 0; i < options.size(); ++i) {
    if (i > 0) text += '\t';
    text += static_cast<char>('A' + i);
    text.append(". ").append(options[i]);
  }
  return text += "\nAnswer:";
}

std::string xnli_prompt(std::string_view premise, std::string_view hypothesis) {
  return concat("Premise: ", premise, "\nHypothesis: ", hypothesis, "\nLabel:");
}

}  // namespace layalign::data
