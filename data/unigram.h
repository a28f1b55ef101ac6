#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/piece_trie.h"
#include "data/sentencepiece_model.h"

namespace layalign::data {

/// Unigram segmentation: the sequence of pieces with the highest sum of scores. Characters that no piece covers become
/// the unknown piece, neighbours together one. Threads: immutable.
class Unigram {
 public:
  /// `pieces` by id; of equal texts the last counts.
  Unigram(const std::vector<Piece>& pieces, int64_t unknown_id);

  /// Appends the ids of one word (well-formed UTF-8).
  void encode(std::string_view word, std::vector<int64_t>& ids) const;

 private:
  struct Step {
    int64_t id = -1;  // the piece that ends here on the best path; -1: none yet
    double score = 0;
    size_t begin = 0;
  };
  std::vector<Step> best_path(std::string_view word) const;

  PieceTrie trie_;
  std::vector<double> scores_;
  int64_t unknown_id_;
  double unknown_score_;
};

}  // namespace layalign::data
