#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/piece_trie.h"
#include "data/sentencepiece_model.h"
#include "data/token_model.h"

namespace layalign::data {

/// Two neighbours that become one token.
struct BpeMerge {
  int64_t left = -1, right = -1, merged = -1;  ///< ids
};

/// How byte-pair encoding goes. Where several merges fit, the first of `merges` is done first, then the leftmost.
struct BpeRules {
  static constexpr int64_t kNoUnknown = -1;

  std::vector<BpeMerge> merges;
  std::optional<int64_t> unknown_id;  ///< what a character that is no token becomes; none: it is dropped; kNoUnknown:
                                      ///< there should be one, but is not, so that such a text is an error
  bool fuse_unknown = false;          ///< unknown characters side by side become one token
  bool byte_fallback = false;         ///< a character that is no token becomes its bytes' tokens (<0x0A>), if it can
  bool whole_words_first = false;     ///< a word that is a token is not merged together (ignore_merges)
  std::string continuing_prefix;      ///< of every character of a word but the first
  std::string end_suffix;             ///< of the last character of a word
};

/// Byte-pair encoding. Threads: immutable. Errors: encode throws DataError where an unknown token is needed and
/// missing.
class Bpe : public TokenModel {
 public:
  Bpe(const std::vector<Token>& tokens, BpeRules rules);

  void encode(std::string_view word, std::vector<int64_t>& ids) const override;

 private:
  struct Merge {
    uint32_t rank;
    int64_t id;
  };
  struct Symbol;
  struct Symbols;

  std::optional<int64_t> find(std::string_view text) const;
  // The merge of two neighbouring tokens; null where there is none.
  const Merge* merge_of(int64_t left, int64_t right) const;
  void merge_all(std::vector<Symbol>& symbols) const;
  void append_character(std::string_view character, Symbols& symbols) const;

  BpeRules rules_;
  PieceTrie trie_;
  std::vector<int64_t> ids_;                    // by the trie's index
  std::unordered_map<uint64_t, Merge> merges_;  // by left id << 32 | right id
  std::array<int64_t, 256> byte_ids_;           // -1 where the vocabulary lacks the byte
};

/// The merges of a SentencePiece model, whose ids are places: neighbours that spell a piece are merged, lowest id
/// first, then the split with the shortest left part.
std::vector<BpeMerge> sentencepiece_merges(const std::vector<Piece>& pieces);

}  // namespace layalign::data
