#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace layalign::data {

/// A part of a text.
struct Span {
  size_t begin, end;
  bool is_match;  ///< of what was looked for; else what lies between two matches
};

/// What becomes of the matches when a text is cut at them. Named as in tokenizer.json.
enum class CutRule { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// Something to look for in texts: literal text, or a regular expression of Oniguruma, the engine of the Hugging Face
/// tokenizers. Threads: immutable.
class Pattern {
 public:
  static Pattern literal(std::string text);
  /// Errors: DataError with what is wrong in the expression.
  static Pattern regex(const std::string& expression);

  /// Matches and what lies between them: parts that cover a well-formed text, in order.
  /// Errors: DataError where an expression takes too many steps.
  std::vector<Span> spans(std::string_view text) const;

 private:
  struct Regex;
  std::string literal_;
  std::shared_ptr<const Regex> regex_;  // null: literal
};

/// `text` with every match written as `content`.
std::string replace_matches(const Pattern& pattern, std::string_view text, std::string_view content);

/// The parts of a text that remain by a rule.
std::vector<Span> cut(std::vector<Span> spans, CutRule rule);

}  // namespace layalign::data
