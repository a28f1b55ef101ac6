#pragma once

#include <limits>
#include <string_view>
#include <vector>

#include "data/piece_trie.h"
#include "data/utf8.h"

namespace layalign::data {

/// The piece that ends at a place of a text, on the path to it with the highest sum of scores.
template <class Score>
struct PathStep {
  static constexpr size_t kNone = std::numeric_limits<size_t>::max();

  Score score = 0;
  size_t begin = kNone;  ///< of the piece; kNone: no piece ends here
  int64_t piece = 0;     ///< its place in `scores`, or `unknown`
};

/// Viterbi's search: the step that ends at each byte of `text`, [text.size() + 1]; of equal sums the first found stays. A character
/// that is no piece by itself may be passed over as `unknown`. `Score` is the type that sums are rounded to: it decides ties.
template <class Score>
std::vector<PathStep<Score>> best_path(std::string_view text, const PieceTrie& trie, const std::vector<Score>& scores, int64_t unknown,
                                       Score unknown_score) {
  std::vector<PathStep<Score>> steps(text.size() + 1);
  const auto offer = [&](size_t begin, size_t end, int64_t piece, Score score) {
    const Score total = score + steps[begin].score;
    if (steps[end].begin == PathStep<Score>::kNone || total > steps[end].score) steps[end] = {total, begin, piece};
  };
  for (size_t begin = 0; begin < text.size();) {
    const size_t length = utf8_length(text, begin);
    bool is_covered = false;  // by a piece of this one character
    trie.prefixes(text.substr(begin), [&](size_t bytes, int32_t piece) {
      offer(begin, begin + bytes, piece, scores[piece]);
      is_covered = is_covered || bytes == length;
    });
    if (!is_covered) offer(begin, begin + length, unknown, unknown_score);
    begin += length;
  }
  return steps;
}

}  // namespace layalign::data
