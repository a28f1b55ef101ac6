#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/piece_trie.h"
#include "data/sentencepiece_model.h"
#include "data/token_model.h"

namespace layalign::data {

/// Cuts a whole normalised text into pieces as SentencePiece itself does, and gives them the ids of a vocabulary of its
/// own. Unigram and Bpe do the same as the Hugging Face tokenizers, whose choice differs where scores are equal or
/// nearly so. Threads: immutable.
class SentencePieceCutter : public TokenModel {
 public:
  /// `model`: Unigram or BPE, with normal, control and unknown pieces only. Characters that become no piece are one
  /// with their neighbours that do not either. What has a text that is none of `tokens` gets `unknown_id`.
  SentencePieceCutter(const SentencePieceModel& model, const std::vector<Token>& tokens, int64_t unknown_id);

  void encode(std::string_view text, std::vector<int64_t>& ids) const override;

 private:
  static constexpr int32_t kNoPiece = -1;

  struct Cut {
    size_t begin, end;
    int32_t piece;  // the place in the model, or kNoPiece
  };

  // Of the text of unknown neighbours.
  int64_t id_of(std::string_view text) const;
  // The cuts with the highest sum of scores, float like SentencePiece's.
  std::vector<Cut> best_cuts(std::string_view text) const;
  // Characters, of which neighbours that spell a piece became one, highest score first, then leftmost.
  std::vector<Cut> merged(std::string_view text) const;

  bool is_unigram_;
  PieceTrie trie_;             // of the normal pieces; others are empty
  std::vector<float> scores_;  // by piece
  float unknown_score_;
  std::vector<int64_t> ids_;                            // by piece
  std::unordered_map<std::string, int64_t> other_ids_;  // of tokens that are no piece
  int64_t unknown_id_;
};

}  // namespace layalign::data
