#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace layalign::data {

/// The normalisation rules of a SentencePiece model (`precompiled_charsmap`).
///
/// Layout: uint32 size of the trie in bytes; the trie (a Darts double array of uint32 units over the bytes of the
/// text); the replacements, each ended by NUL. A leaf of the trie holds the place of its replacement. All
/// little-endian. Threads: immutable.
class Charsmap {
 public:
  /// Errors: DataError where the bytes cannot be such rules.
  explicit Charsmap(std::string_view bytes);

  /// A rule that fits the begin of a text.
  struct Rule {
    size_t bytes;                  ///< of the text
    std::string_view replacement;  ///< valid as long as the rules are
  };

  /// All of a text as the Hugging Face tokenizers do it: whole grapheme clusters of up to 5 bytes first, else character
  /// by character, by the shortest rule that fits. Errors: DataError where a rule points outside the replacements.
  std::string normalize(std::string_view text) const;

  /// What SentencePiece itself goes by: the longest rule that `text` begins with; none: its first character stays.
  /// Errors: as normalize.
  std::optional<Rule> longest_rule(std::string_view text) const;

 private:
  // Calls visit(rule) for every rule that fits, shortest first, until it returns false.
  template <typename Visit>
  void visit_rules(std::string_view text, Visit&& visit) const;

  std::vector<uint32_t> units_;
  std::string replacements_;
};

}  // namespace layalign::data
