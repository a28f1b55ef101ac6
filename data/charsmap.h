#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace layalign::data {

/// The normalisation rules of a SentencePiece model (`precompiled_charsmap`), applied as the Hugging Face tokenizers
/// do: whole grapheme clusters of up to 5 bytes first, else character by character, by the shortest rule that fits.
///
/// Layout: uint32 size of the trie in bytes; the trie (a Darts double array of uint32 units over the bytes of the
/// text); the replacements, each ended by NUL. A leaf of the trie holds the place of its replacement. All
/// little-endian. Threads: immutable.
class Charsmap {
 public:
  /// Errors: DataError where the bytes cannot be such rules.
  explicit Charsmap(std::string_view bytes);

  /// Errors: DataError where a rule points outside the replacements.
  std::string normalize(std::string_view text) const;

 private:
  // Appends what `part` becomes; false where no rule fits.
  bool append_replacement(std::string_view part, std::string& out) const;

  std::vector<uint32_t> units_;
  std::string replacements_;
};

}  // namespace layalign::data
