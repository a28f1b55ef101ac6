#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/piece_trie.h"

namespace layalign::data {

/// A token that is cut out of a text before the model sees the rest, such as </s> or <extra_id_0>.
struct AddedToken {
  std::string content;
  int64_t id = -1;
  bool strip_left = false;   ///< takes the white space on its left with it
  bool strip_right = false;  ///< and on its right
  bool single_word = false;  ///< only where no word character stands beside it
  bool normalized = false;   ///< looked for in the normalised text, not in the text as written
  bool special = false;      ///< left out when ids are decoded

  bool operator==(const AddedToken&) const = default;
};

/// A part of a text: an added token, or text between them.
struct Section {
  std::string_view text;
  std::optional<int64_t> id;  ///< of the added token; none: text
};

/// Finds added tokens: leftmost first, of those that begin together the longest. Threads: immutable.
class AddedTokenFinder {
 public:
  /// `patterns[i]` is what to look for where `tokens[i]` is meant.
  AddedTokenFinder(std::vector<AddedToken> tokens, const std::vector<std::string>& patterns);

  /// The sections of a well-formed text, in order; empty ones are left out.
  std::vector<Section> split(std::string_view text) const;

 private:
  std::vector<AddedToken> tokens_;
  PieceTrie trie_;
};

}  // namespace layalign::data
