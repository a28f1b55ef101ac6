#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/piece_trie.h"
#include "data/token_model.h"

namespace layalign::data {

/// What a WordPiece vocabulary needs to know.
struct WordPieceRules {
  int64_t unknown_id = -1;
  std::string continuing_prefix = "##";  ///< of entries that continue a word
  int64_t max_characters = 100;          ///< a longer word is unknown
};

/// WordPiece: the longest entry that fits, again and again; a word that cannot be covered is unknown as a whole.
/// Threads: immutable.
class WordPiece : public TokenModel {
 public:
  WordPiece(const std::vector<Token>& tokens, WordPieceRules rules);

  void encode(std::string_view word, std::vector<int64_t>& ids) const override;

 private:
  WordPieceRules rules_;
  PieceTrie trie_;
  std::vector<int64_t> ids_;  // by the trie's index
};

}  // namespace layalign::data
