#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "configs/schema.h"
#include "data/dataset.h"
#include "data/text_file.h"

namespace layalign::data {

/// One row of a corpus as text.
struct TextRow {
  std::string source;                 ///< what the encoder reads
  std::string target;                 ///< what the LLM learns to write
  std::optional<std::string> prompt;  ///< the row's own prompt; none: made from the source, see PromptKind
  std::string group;                  ///< the problem; empty: a row is its own
  int32_t language = 0;               ///< index in TextCorpus::languages
  int32_t file = 0;                   ///< index in TextCorpus::files
  int64_t line = 0;
  int64_t item = 0;  ///< see JsonRecord::item
};

/// How a text without a prompt of its own gets one.
enum class PromptKind { kSource, kMath, kTranslation };

/// The kind that a corpus is trained with.
PromptKind prompt_kind_of(const configs::CorpusConfig& config);

/// The prompt of a text in a language (its English name).
std::string prompt_of(PromptKind kind, const std::string& text, const std::string& language);

/// All rows of a stage's corpus.
struct TextCorpus {
  PromptKind prompt_kind = PromptKind::kSource;
  std::vector<std::string> languages;
  std::vector<std::string> files;
  std::vector<TextRow> rows;

  std::string prompt(const TextRow& row) const;
  /// The problem of the row at `index` of the corpus: its own where it names none. Many rows may stand on one line.
  static std::string group(const TextRow& row, int64_t index) {
    return row.group.empty() ? group_of_row(index) : row.group;
  }
  /// Where the row stands: "file:line", in an array "file:line (item n)".
  std::string origin(const TextRow& row) const;
};

/// Reads a corpus of text (every format but token_ids) in the public data layout, or a user's own JSONL.
/// `root`: data.root, resolved. `path`: corpus.path, resolved, where the format has one.
/// Errors: DataError with file and line; a language of `config.languages` that has no row; no row at all.
TextCorpus read_text_corpus(const configs::CorpusConfig& config, const std::filesystem::path& root,
                            const std::filesystem::path& path);

/// The same rows one after the other, none of them kept: `visit(corpus, row)`, where `corpus` has everything but rows.
/// Returns that corpus. Problems that go to `on_problem` cost a row, or what of a file is behind them.
TextCorpus visit_text_corpus(const configs::CorpusConfig& config, const std::filesystem::path& root,
                             const std::filesystem::path& path,
                             const std::function<void(const TextCorpus&, TextRow)>& visit,
                             const ProblemHandler& on_problem = {});

}  // namespace layalign::data
