#include "data/evaluation_task.h"

#include <algorithm>
#include <array>
#include <functional>
#include <utility>

#include "configs/languages.h"
#include "data/error.h"
#include "data/prompts.h"
#include "data/task_records.h"

namespace layalign::data {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::pair<EvaluationTask, std::string_view>, 4> kNames{{{EvaluationTask::kMgsm, "mgsm"},
                                                                             {EvaluationTask::kMsvamp, "msvamp"},
                                                                             {EvaluationTask::kXCsqa, "x_csqa"},
                                                                             {EvaluationTask::kXnli, "xnli"}}};

/// The questions of one language; `is_full` says when no more are wanted.
struct Questions {
  std::string language;
  std::optional<int64_t> limit;
  std::vector<EvaluationItem> items;

  bool is_full() const { return limit && static_cast<int64_t>(items.size()) >= *limit; }

  void add(std::string source, std::string prompt, std::string answer, std::string origin) {
    if (is_full()) return;
    const auto index = static_cast<int64_t>(items.size());
    items.push_back({language, std::move(source), std::move(prompt), std::move(answer), index, std::move(origin)});
  }
};

std::string_view without_outer_space(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n\v\f";
  const size_t begin = text.find_first_not_of(kSpace);
  return begin == text.npos ? std::string_view() : text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// "1,234.5" -> "1234.5". Errors: DataError where the text is no number.
std::string number_of(std::string_view text, const std::string& where) {
  std::string number(without_outer_space(text));
  std::erase(number, ',');
  const std::string_view digits = std::string_view(number).substr(number.starts_with('-') ? 1 : 0);
  const size_t point = std::min(digits.find('.'), digits.size());
  const auto all_digits = [](std::string_view part) {
    return !part.empty() && std::all_of(part.begin(), part.end(), is_digit);
  };
  if (!all_digits(digits.substr(0, point)) || (point < digits.size() && !all_digits(digits.substr(point + 1)))) {
    throw DataError(where + ": the answer '" + std::string(text) + "' is not a number");
  }
  return number;
}

void read_mgsm(const fs::path& path, Questions* questions, const ProblemHandler& on_problem) {
  const auto visit = [&](std::string_view line, int64_t number) {
    if (without_outer_space(line).empty()) return true;
    const std::string where = place(path.string(), number);
    const size_t tab = line.find('\t');
    if (tab == line.npos) throw DataError(where + ": expected a question, a TAB and a number, but there is no TAB");
    const std::string question(without_outer_space(line.substr(0, tab)));
    if (question.empty()) throw DataError(where + ": there is no question before the TAB");
    const std::string_view rest = line.substr(tab + 1);
    questions->add(question, math_prompt(question), number_of(rest.substr(0, rest.find('\t')), where), where);
    return !questions->is_full();
  };
  for_each_line(path, visit, on_problem);
}

void read_msvamp(const fs::path& path, Questions* questions, const ProblemHandler& on_problem) {
  const auto visit = [&](const JsonRecord& record) {
    const std::string question = record.text("m_query");
    questions->add(question, math_prompt(question), number_of(record.text("response"), record.where), record.where);
    return !questions->is_full();
  };
  for_each_jsonl(path, visit, on_problem);
}

void read_x_csqa(const fs::path& path, Questions* questions, const ProblemHandler& on_problem) {
  const auto visit = [&](const JsonRecord& record) {
    const std::string prompt = x_csqa_prompt_of(record);
    questions->add(prompt, prompt, record.text("answerKey"), record.where);
    return !questions->is_full();
  };
  for_each_jsonl(path, visit, on_problem);
}

/// One file holds all languages. Without a list they come in the order of the file.
std::vector<Questions> read_xnli(const fs::path& path, std::vector<Questions> wanted, std::optional<int64_t> limit,
                                 const ProblemHandler& on_problem) {
  const bool all = wanted.empty();
  const auto visit = [&](const JsonRecord& record) {
    const std::string language = record.text("language");
    auto questions = std::find_if(wanted.begin(), wanted.end(), [&](const auto& q) { return q.language == language; });
    if (questions == wanted.end()) {
      if (!all) return true;
      questions = wanted.insert(wanted.end(), {language, limit, {}});
    }
    const std::string prompt = xnli_prompt_of(record);
    questions->add(prompt, prompt, xnli_label_of(record), record.where);
    return all || !std::all_of(wanted.begin(), wanted.end(), std::mem_fn(&Questions::is_full));
  };
  for_each_in_array(path, visit, on_problem);
  return wanted;
}

std::string code_of(EvaluationTask task, const std::string& language) {
  const auto code = configs::language_code(language);
  if (!code) throw DataError(std::string(name_of(task)) + ": '" + language + "' is not a language of the public data");
  return std::string(*code);
}

/// Where the questions of a language lie.
fs::path path_of(EvaluationTask task, const fs::path& data_root, const std::string& language) {
  const fs::path folder = data_root / "evaluation";
  switch (task) {
    case EvaluationTask::kMgsm:
      return folder / "mgsm" / ("mgsm_" + code_of(task, language) + ".tsv");
    case EvaluationTask::kMsvamp:
      return folder / "msvamp" / ("test_" + language + ".jsonl");
    case EvaluationTask::kXCsqa:
      return folder / "x-csqa" / code_of(task, language) / "dev.jsonl";
    case EvaluationTask::kXnli:
      break;
  }
  return folder / "xnli" / "test.json";
}

std::vector<std::string> languages_with_files(EvaluationTask task, const fs::path& data_root) {
  std::vector<std::string> found;
  for (const auto& language : configs::kLanguages) {
    if (fs::exists(path_of(task, data_root, std::string(language.name)))) found.emplace_back(language.name);
  }
  if (!found.empty()) return found;
  const fs::path example = path_of(task, data_root, "English");
  throw DataError(example.string() + ": no such file, and none for another language: " + std::string(name_of(task)) +
                  " is not under the data root " + data_root.string());
}

void read_language(EvaluationTask task, const fs::path& path, Questions* questions, const ProblemHandler& on_problem) {
  if (!fs::exists(path)) {
    throw DataError(path.string() + ": no such file, so " + std::string(name_of(task)) + " has no " +
                    questions->language + "; take it off the list of languages, or get the file");
  }
  if (task == EvaluationTask::kMgsm)
    read_mgsm(path, questions, on_problem);
  else if (task == EvaluationTask::kMsvamp)
    read_msvamp(path, questions, on_problem);
  else
    read_x_csqa(path, questions, on_problem);
}

}  // namespace

std::string_view name_of(EvaluationTask task) {
  return std::find_if(kNames.begin(), kNames.end(), [&](const auto& entry) { return entry.first == task; })->second;
}

std::optional<EvaluationTask> evaluation_task_named(std::string_view name) {
  for (const auto& [task, its_name] : kNames) {
    if (its_name == name) return task;
  }
  return std::nullopt;
}

bool is_math(EvaluationTask task) { return task == EvaluationTask::kMgsm || task == EvaluationTask::kMsvamp; }

std::vector<EvaluationItem> read_evaluation(EvaluationTask task, const fs::path& data_root,
                                            const std::vector<std::string>& languages, std::optional<int64_t> limit,
                                            const ProblemHandler& on_problem) {
  const bool one_file = task == EvaluationTask::kXnli;
  for (size_t i = 0; i < languages.size(); ++i) {
    if (std::find(languages.begin(), languages.begin() + i, languages[i]) != languages.begin() + i) {
      throw DataError(std::string(name_of(task)) + ": the language " + languages[i] + " is listed twice");
    }
  }
  std::vector<Questions> wanted;
  go_on_after(data_root, on_problem, [&] {
    for (const auto& language : languages.empty() && !one_file ? languages_with_files(task, data_root) : languages) {
      wanted.push_back({language, limit, {}});
    }
  });
  if (one_file) {
    const fs::path path = path_of(task, data_root, "");
    wanted = read_xnli(path, std::move(wanted), limit, on_problem);
    go_on_after(path, on_problem, [&] {
      if (wanted.empty()) throw DataError(path.string() + ": holds no questions");
    });
  }
  std::vector<EvaluationItem> items;
  for (Questions& questions : wanted) {
    go_on_after(data_root, on_problem, [&] {
      const fs::path path = path_of(task, data_root, questions.language);
      if (!one_file) read_language(task, path, &questions, on_problem);
      if (questions.items.empty()) throw DataError(path.string() + ": no question in " + questions.language);
    });
    std::move(questions.items.begin(), questions.items.end(), std::back_inserter(items));
  }
  return items;
}

}  // namespace layalign::data
