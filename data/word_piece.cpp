#include "data/word_piece.h"

#include "data/utf8.h"

namespace layalign::data {

WordPiece::WordPiece(const std::vector<Token>& tokens, WordPieceRules rules)
    : rules_(std::move(rules)), trie_(texts_of(tokens)) {
  for (const Token& token : tokens) ids_.push_back(token.id);
}

void WordPiece::encode(std::string_view word, std::vector<int64_t>& ids) const {
  const size_t first = ids.size();
  int64_t characters = 0;
  for (size_t i = 0; i < word.size(); i += utf8_length(word, i)) ++characters;
  bool is_known = characters <= rules_.max_characters;
  for (size_t begin = 0; is_known && begin < word.size();) {
    const std::string& prefix = begin > 0 ? rules_.continuing_prefix : std::string();
    size_t longest = 0;
    int64_t id = -1;
    trie_.prefixes(prefix + std::string(word.substr(begin)), [&](size_t bytes, int32_t index) {
      if (bytes <= prefix.size()) return;
      longest = bytes - prefix.size();
      id = ids_[index];
    });
    is_known = longest > 0;
    ids.push_back(id);
    begin += longest;
  }
  if (is_known) return;
  ids.resize(first);
  ids.push_back(rules_.unknown_id);
}

}  // namespace layalign::data
