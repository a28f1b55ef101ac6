#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "configs/schema.h"

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

/// How a row without a prompt of its own gets one.
enum class PromptKind { kSource, kMath, kTranslation };

/// All rows of a stage's corpus.
struct TextCorpus {
  PromptKind prompt_kind = PromptKind::kSource;
  std::vector<std::string> languages;
  std::vector<std::string> files;
  std::vector<TextRow> rows;

  std::string prompt(const TextRow& row) const;
  /// Where the row stands: "file:line", in an array "file:line (item n)".
  std::string origin(const TextRow& row) const;
};

/// Reads a corpus of text (every format but token_ids) in the public data layout, or a user's own JSONL.
/// `root`: data.root, resolved. `path`: corpus.path, resolved, where the format has one.
/// Errors: DataError with file and line; a language of `config.languages` that has no row; no row at all.
TextCorpus read_text_corpus(const configs::CorpusConfig& config, const std::filesystem::path& root,
                            const std::filesystem::path& path);

}  // namespace layalign::data
