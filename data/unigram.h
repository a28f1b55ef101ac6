#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/piece_trie.h"
#include "data/sentencepiece_model.h"
#include "data/token_model.h"

namespace layalign::data {

/// Unigram segmentation: the sequence of pieces with the highest sum of scores. Characters that no piece covers become
/// the unknown piece, neighbours together one. Threads: immutable.
class Unigram : public TokenModel {
 public:
  /// `pieces` by id, not empty; of equal texts the last counts. `byte_fallback`: what no piece covers becomes its
  /// bytes' pieces (<0x0A>) where they are all there.
  Unigram(const std::vector<Piece>& pieces, int64_t unknown_id, bool byte_fallback = false);

  void encode(std::string_view word, std::vector<int64_t>& ids) const override;

 private:
  // Appends what `text`, which no piece covers, becomes; last id first.
  void append_unknown(std::string_view text, std::vector<int64_t>& ids) const;

  PieceTrie trie_;
  std::vector<double> scores_;
  int64_t unknown_id_;
  double unknown_score_;
  std::array<int64_t, 256> byte_ids_;  // -1: not to be used
};

}  // namespace layalign::data
