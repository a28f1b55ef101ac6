#include "data/text_corpus.h"

#include <algorithm>
#include <string_view>

#include "configs/languages.h"
#include "data/error.h"
#include "data/prompts.h"
#include "data/task_records.h"

namespace layalign::data {
namespace {

namespace fs = std::filesystem;

using RowVisitor = std::function<void(const TextCorpus&, TextRow)>;

/// Hands the wanted rows on, counting them a language.
class Builder {
 public:
  Builder(const configs::CorpusConfig& config, const RowVisitor& visit, ProblemHandler problem_handler)
      : on_problem(std::move(problem_handler)), config_(config), visit_(visit) {
    corpus.prompt_kind = prompt_kind_of(config);
    for (const auto& language : config.languages) add_language(language);
  }

  TextCorpus corpus;  // without rows
  const ProblemHandler on_problem;

  int32_t add_file(const fs::path& path) {
    corpus.files.push_back(path.string());
    return static_cast<int32_t>(corpus.files.size()) - 1;
  }

  /// The index of a language whose rows are wanted; none for one that the config does not list.
  std::optional<int32_t> wanted(const std::string& language) {
    const auto found = std::find(corpus.languages.begin(), corpus.languages.end(), language);
    if (found != corpus.languages.end()) return static_cast<int32_t>(found - corpus.languages.begin());
    if (!config_.languages.empty()) {
      if (std::find(others_.begin(), others_.end(), language) == others_.end()) others_.push_back(language);
      return std::nullopt;
    }
    return add_language(language);
  }

  bool is_full(int32_t language) const { return config_.train_num && counts_[language] >= *config_.train_num; }

  /// Whether no further row can be wanted.
  bool is_complete() const {
    if (config_.languages.empty()) return false;
    for (size_t i = 0; i < counts_.size(); ++i) {
      if (!is_full(static_cast<int32_t>(i))) return false;
    }
    return true;
  }

  void add(TextRow row) {
    if (is_full(row.language)) return;
    ++counts_[row.language];
    visit_(corpus, std::move(row));
  }

  TextCorpus finish() {
    const std::string from = corpus.files.empty() ? "the corpus" : corpus.files.front();
    const bool is_empty =
        others_.empty() && std::all_of(counts_.begin(), counts_.end(), [](int64_t count) { return count == 0; });
    go_on_after(from, on_problem, [&] {
      if (is_empty) throw DataError(from + ": the corpus is empty");
    });
    for (size_t i = 0; i < config_.languages.size() && !is_empty; ++i) {
      go_on_after(from, on_problem, [&] { require_rows(i, from); });
    }
    return std::move(corpus);
  }

 private:
  int32_t add_language(const std::string& language) {
    corpus.languages.push_back(language);
    counts_.push_back(0);
    return static_cast<int32_t>(counts_.size()) - 1;
  }

  void require_rows(size_t language, const std::string& from) const {
    if (counts_[language] > 0) return;
    std::string has;
    for (const auto& other : others_) has += (has.empty() ? "; it has " : ", ") + other;
    throw DataError(from + ": no row in the language " + corpus.languages[language] + " (corpus.languages)" + has);
  }

  const configs::CorpusConfig& config_;
  const RowVisitor& visit_;
  std::vector<int64_t> counts_;
  std::vector<std::string> others_;  // seen, but not listed in the config
};

/// The languages of the config, or all whose file exists.
template <typename PathOf>
std::vector<std::string> languages_with_files(const configs::CorpusConfig& config, const PathOf& path_of) {
  if (!config.languages.empty()) return config.languages;
  std::vector<std::string> found;
  for (const auto& language : configs::kLanguages) {
    if (fs::exists(path_of(std::string(language.name)))) found.emplace_back(language.name);
  }
  return found;
}

std::string code_of(const std::string& language) {
  const auto code = configs::language_code(language);
  if (!code) throw DataError("corpus.languages: '" + language + "' has no language code");
  return std::string(*code);
}

/// One side of sentence pairs: the first `most` lines, none in place of one that cannot be used.
struct Side {
  std::vector<std::optional<std::string>> lines;
  std::optional<int64_t> total;  // of the file; none where it could not be read to its end
};

Side read_side(const fs::path& path, const std::optional<int64_t>& most, const ProblemHandler& on_problem) {
  Side side;
  const auto keep = [&](std::string_view line, int64_t number) {
    if (most && number > *most) return true;
    side.lines.resize(number - 1);
    side.lines.emplace_back(line);
    return true;
  };
  side.total = for_each_line(path, keep, on_problem);
  return side;
}

void read_bilingual_pairs(const configs::CorpusConfig& config, const fs::path& root, Builder* builder) {
  const auto path_of = [&](const std::string& language, const std::string& side) {
    return root / "bilingual_pairs" / ("en-" + code_of(language)) / ("train_100k." + side);
  };
  const auto languages =
      languages_with_files(config, [&](const std::string& language) { return path_of(language, code_of(language)); });
  if (languages.empty()) throw DataError((root / "bilingual_pairs").string() + ": no en-xx/train_100k.xx there");
  for (const auto& language : languages) {
    const auto source_path = path_of(language, code_of(language)), target_path = path_of(language, "en");
    const auto index = builder->wanted(language);
    const int32_t file = builder->add_file(source_path);
    builder->add_file(target_path);
    auto sources = read_side(source_path, config.train_num, builder->on_problem);
    auto targets = read_side(target_path, config.train_num, builder->on_problem);
    go_on_after(source_path, builder->on_problem, [&] {
      if (!sources.total || !targets.total || sources.total == targets.total) return;
      throw DataError(source_path.string() + " has " + std::to_string(*sources.total) + " lines, but " +
                      target_path.string() + " has " + std::to_string(*targets.total) +
                      ": line n of one must translate line n of the other");
    });
    for (size_t i = 0; i < std::min(sources.lines.size(), targets.lines.size()); ++i) {
      if (!sources.lines[i] || !targets.lines[i]) continue;
      builder->add({std::move(*sources.lines[i]),
                    std::move(*targets.lines[i]),
                    {},
                    {},
                    *index,
                    file,
                    static_cast<int64_t>(i) + 1});
    }
  }
}

void read_metamath(const fs::path& root, Builder* builder) {
  const auto path = root / "query_translation/metamath_615k.json";
  const int32_t file = builder->add_file(path);
  const auto visit = [&](const JsonRecord& record) {
    if (const auto language = builder->wanted(record.text("lang"))) {
      builder->add({record.text("query"), record.text("response"), {}, {}, *language, file, record.line, record.item});
    }
    return !builder->is_complete();
  };
  for_each_in_array(path, visit, builder->on_problem);
}

void read_x_csqa(const configs::CorpusConfig& config, const fs::path& root, Builder* builder) {
  const auto path_of = [&](const std::string& language) {
    return root / "query_translation/x-csqa" / ("train_" + code_of(language) + ".jsonl");
  };
  const auto languages = languages_with_files(config, path_of);
  if (languages.empty()) throw DataError((root / "query_translation/x-csqa").string() + ": no train_xx.jsonl there");
  for (const auto& language : languages) {
    const auto index = builder->wanted(language);
    const int32_t file = builder->add_file(path_of(language));
    const auto visit = [&](const JsonRecord& record) {
      builder->add({x_csqa_prompt_of(record), record.text("answerKey"), {}, {}, *index, file, record.line});
      return !builder->is_full(*index);
    };
    for_each_jsonl(path_of(language), visit, builder->on_problem);
  }
}

void read_xnli(const fs::path& root, Builder* builder) {
  const auto path = root / "query_translation/xnli_dev.json";
  const int32_t file = builder->add_file(path);
  const auto visit = [&](const JsonRecord& record) {
    if (const auto language = builder->wanted(record.text("language"))) {
      builder->add({xnli_prompt_of(record), xnli_label_of(record), {}, {}, *language, file, record.line, record.item});
    }
    return !builder->is_complete();
  };
  for_each_in_array(path, visit, builder->on_problem);
}

/// "test_Bengali.jsonl" -> Bengali; another name is taken whole.
std::string msvamp_language(const fs::path& path) {
  const std::string stem = path.stem().string();
  return stem.starts_with("test_") ? stem.substr(5) : stem;
}

void read_msvamp(const configs::CorpusConfig& config, const fs::path& folder_or_file, Builder* builder) {
  const bool translate = config.task == "translation";
  std::vector<fs::path> files = {folder_or_file};
  if (fs::is_directory(folder_or_file)) {
    const auto path_of = [&](const std::string& language) { return folder_or_file / ("test_" + language + ".jsonl"); };
    files.clear();
    for (const auto& language : languages_with_files(config, path_of)) files.push_back(path_of(language));
    if (files.empty()) throw DataError(folder_or_file.string() + ": no test_Language.jsonl there");
  }
  for (const auto& path : files) {
    const std::string language = msvamp_language(path);
    const auto index = builder->wanted(language);
    const int32_t file = builder->add_file(path);
    if (!index) continue;
    const auto visit = [&](const JsonRecord& record) {
      // The English file has the English question as m_query alone.
      const std::string source = record.text("m_query");
      const std::string target = !translate               ? record.text("response")
                                 : language == "English" ? source
                                                         : record.text("query");
      // The same line is the same problem in every language.
      builder->add({source, target, {}, "msvamp " + std::to_string(record.line), *index, file, record.line});
      return !builder->is_full(*index);
    };
    for_each_jsonl(path, visit, builder->on_problem);
  }
}

void read_jsonl(const fs::path& path, Builder* builder) {
  const int32_t file = builder->add_file(path);
  const auto visit = [&](const JsonRecord& record) {
    const auto language = builder->wanted(record.text_or("language", "unknown"));
    if (!language) return true;
    TextRow row{record.text("source"), record.text("target"), {}, record.text_or("group", ""), *language, file, record.line};
    if (const auto prompt = record.fields.find("prompt"); prompt != record.fields.end() && !prompt->is_null()) {
      row.prompt = record.text("prompt");
    }
    builder->add(std::move(row));
    return !builder->is_complete();
  };
  for_each_jsonl(path, visit, builder->on_problem);
}

}  // namespace

PromptKind prompt_kind_of(const configs::CorpusConfig& config) {
  if (config.format == "bilingual_pairs" || config.task == "translation") return PromptKind::kTranslation;
  if (config.format == "metamath" || config.format == "msvamp") return PromptKind::kMath;
  return PromptKind::kSource;
}

std::string prompt_of(PromptKind kind, const std::string& text, const std::string& language) {
  switch (kind) {
    case PromptKind::kMath: return math_prompt(text);
    case PromptKind::kTranslation: return translation_prompt(text, language, "English");
    case PromptKind::kSource: break;
  }
  return text;
}

std::string TextCorpus::prompt(const TextRow& row) const {
  return row.prompt ? *row.prompt : prompt_of(prompt_kind, row.source, languages[row.language]);
}

std::string TextCorpus::origin(const TextRow& row) const { return place(files[row.file], row.line, row.item); }

TextCorpus visit_text_corpus(const configs::CorpusConfig& config, const fs::path& root, const fs::path& path,
                             const RowVisitor& visit, const ProblemHandler& on_problem) {
  Builder builder(config, visit, on_problem);
  const fs::path from = path.empty() ? root : path;
  go_on_after(from, on_problem, [&] {
    if (config.format == "bilingual_pairs")
      read_bilingual_pairs(config, root, &builder);
    else if (config.format == "metamath")
      read_metamath(root, &builder);
    else if (config.format == "x_csqa")
      read_x_csqa(config, root, &builder);
    else if (config.format == "xnli")
      read_xnli(root, &builder);
    else if (config.format == "msvamp")
      read_msvamp(config, path, &builder);
    else if (config.format == "jsonl")
      read_jsonl(path, &builder);
    else
      throw DataError("corpus.format: '" + config.format + "' is not a format of text");
  });
  return builder.finish();
}

TextCorpus read_text_corpus(const configs::CorpusConfig& config, const fs::path& root, const fs::path& path) {
  std::vector<TextRow> rows;
  TextCorpus corpus =
      visit_text_corpus(config, root, path, [&](const TextCorpus&, TextRow row) { rows.push_back(std::move(row)); });
  corpus.rows = std::move(rows);
  return corpus;
}

}  // namespace layalign::data
