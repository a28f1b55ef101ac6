#include "data/prompts.h"

namespace layalign::data {

std::string math_prompt(std::string_view query) {
  return "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
         "### Instruction:\n" +
         std::string(query) + "\n\n### Response: Let's think step by step.";
}

std::string translation_prompt(std::string_view query, std::string_view source_language, std::string_view target_language) {
  return "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
         "response that appropriately completes the request.\n### Instruction:\nTranslate the following sentences from " +
         std::string(source_language) + " to " + std::string(target_language) + ".\n### Input:\n" + std::string(query) +
         "\n### Response:";
}

std::string x_csqa_prompt(std::string_view stem, const std::vector<std::string>& options) {
  std::string text = std::string(stem) + "\nOptions:";
  for (size_t i = 0; i < options.size(); ++i) {
    if (i > 0) text += '\t';
    text += static_cast<char>('A' + i);
    text += ". " + options[i];
  }
  return text + "\nAnswer:";
}

std::string xnli_prompt(std::string_view premise, std::string_view hypothesis) {
  return "Premise: " + std::string(premise) + "\nHypothesis: " + std::string(hypothesis) + "\nLabel:";
}

}  // namespace layalign::data
