#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/piece_trie.h"
#include "data/sentencepiece_model.h"

namespace layalign::data {

/// Byte-pair encoding over the pieces of a SentencePiece model: neighbours that spell a piece are merged, lowest id
/// first, then the split with the shortest left part, then the leftmost. A character that is no piece becomes its
/// bytes' pieces
/// (<0x0A>); where the model has none of those, it is dropped. Threads: immutable.
class Bpe {
 public:
  explicit Bpe(const std::vector<Piece>& pieces);

  /// Appends the ids of a text (well-formed UTF-8), merging across all of it.
  void encode(std::string_view text, std::vector<int64_t>& ids) const;

 private:
  struct Merge {
    uint32_t rank;
    int32_t id;
  };
  struct Symbol;

  // The merge of two neighbouring pieces; null where they spell none.
  const Merge* merge_of(int32_t left, int32_t right) const;
  void merge_all(std::vector<Symbol>& symbols) const;
  void append_character(std::string_view character, std::vector<Symbol>& symbols) const;

  PieceTrie trie_;
  std::unordered_map<uint64_t, Merge> merges_;  // by left id << 32 | right id
  std::array<int32_t, 256> byte_ids_;           // -1 where the model lacks the byte
};

}  // namespace layalign::data
