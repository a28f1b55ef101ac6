#include "data/task_records.h"

#include <vector>

#include "data/error.h"
#include "data/prompts.h"

namespace layalign::data {

std::string x_csqa_prompt_of(const JsonRecord& record) {
  const auto question = record.fields.find("question");
  const auto wrong = [&](const std::string& what) { return DataError(record.where + ": " + what); };
  if (question == record.fields.end() || !question->is_object()) throw wrong("field 'question' must be an object");
  const JsonRecord inner{*question, record.line, record.item, record.where};
  const auto choices = question->find("choices");
  if (choices == question->end() || !choices->is_array()) throw wrong("field 'question.choices' must be an array");
  std::vector<std::string> options;
  for (const auto& choice : *choices) {
    if (!choice.is_object()) throw wrong("a choice must be an object with 'text'");
    options.push_back(JsonRecord{choice, record.line, record.item, record.where}.text("text"));
  }
  return x_csqa_prompt(inner.text("stem"), options);
}

std::string xnli_prompt_of(const JsonRecord& record) {
  return xnli_prompt(record.text("sentence1"), record.text("sentence2"));
}

std::string xnli_label_of(const JsonRecord& record) {
  const auto found = record.fields.find("label");
  return found != record.fields.end() && found->is_number_integer() ? found->dump() : record.text("label");
}

}  // namespace layalign::data
