#include "data/sentencepiece_cutter.h"

#include <algorithm>
#include <queue>

#include "data/best_path.h"
#include "data/utf8.h"

namespace layalign::data {
namespace {

// How much worse than the worst piece an unknown character is.
constexpr float kUnknownPiecePenalty = 10.0F;

constexpr size_t kNone = std::numeric_limits<size_t>::max();

bool is_normal(const Piece& piece) { return piece.kind == Piece::Kind::kNormal; }

// By place; empty where a piece never comes from a text.
std::vector<std::string_view> normal_texts(const std::vector<Piece>& pieces) {
  std::vector<std::string_view> texts;
  for (const Piece& piece : pieces) texts.push_back(is_normal(piece) ? std::string_view(piece.text) : "");
  return texts;
}

float worst_score(const std::vector<Piece>& pieces) {
  float worst = std::numeric_limits<float>::max();
  for (const Piece& piece : pieces) {
    if (is_normal(piece)) worst = std::min(worst, static_cast<float>(piece.score));
  }
  return worst;
}

// A stretch of text that can still grow; empty: part of another now.
struct Symbol {
  size_t begin, bytes;
  size_t previous, next;
};

// Neighbours that spell a piece.
struct Merge {
  float score;
  size_t left, right, bytes;

  // What a priority queue takes last.
  bool operator<(const Merge& other) const {
    return score < other.score || (score == other.score && left > other.left);
  }
};

std::vector<Symbol> characters_of(std::string_view text) {
  std::vector<Symbol> symbols;
  for (size_t begin = 0; begin < text.size();) {
    const size_t bytes = utf8_length(text, begin), index = symbols.size();
    symbols.push_back({begin, bytes, index == 0 ? kNone : index - 1, index + 1});
    begin += bytes;
  }
  if (!symbols.empty()) symbols.back().next = kNone;
  return symbols;
}

}  // namespace

SentencePieceCutter::SentencePieceCutter(const SentencePieceModel& model, const std::vector<Token>& tokens,
                                         int64_t unknown_id)
    : is_unigram_(model.algorithm == SentencePieceModel::Algorithm::kUnigram),
      trie_(normal_texts(model.pieces)),
      unknown_score_(worst_score(model.pieces) - kUnknownPiecePenalty),
      ids_(model.pieces.size(), unknown_id),
      unknown_id_(unknown_id) {
  for (const Piece& piece : model.pieces) scores_.push_back(static_cast<float>(piece.score));
  for (const Token& token : tokens) {
    if (const auto piece = trie_.find(token.text)) {
      ids_[*piece] = token.id;
    } else {
      other_ids_[token.text] = token.id;
    }
  }
}

void SentencePieceCutter::encode(std::string_view text, std::vector<int64_t>& ids) const {
  const std::vector<Cut> cuts = is_unigram_ ? best_cuts(text) : merged(text);
  for (size_t i = 0; i < cuts.size();) {
    const size_t begin = cuts[i].begin;
    if (cuts[i].piece != kNoPiece) {
      ids.push_back(ids_[cuts[i++].piece]);
      continue;
    }
    while (i < cuts.size() && cuts[i].piece == kNoPiece) ++i;
    ids.push_back(id_of(text.substr(begin, cuts[i - 1].end - begin)));
  }
}

int64_t SentencePieceCutter::id_of(std::string_view text) const {
  // Unknown neighbours together may spell a piece after all.
  if (const auto piece = trie_.find(text)) return ids_[*piece];
  const auto other = other_ids_.find(std::string(text));
  return other == other_ids_.end() ? unknown_id_ : other->second;
}

std::vector<SentencePieceCutter::Cut> SentencePieceCutter::best_cuts(std::string_view text) const {
  const auto steps = best_path(text, trie_, scores_, kNoPiece, unknown_score_);
  std::vector<Cut> cuts;
  for (size_t end = text.size(); end > 0; end = cuts.back().begin) {
    cuts.push_back({steps[end].begin, end, static_cast<int32_t>(steps[end].piece)});
  }
  std::ranges::reverse(cuts);
  return cuts;
}

std::vector<SentencePieceCutter::Cut> SentencePieceCutter::merged(std::string_view text) const {
  std::vector<Symbol> symbols = characters_of(text);
  std::priority_queue<Merge> merges;
  const auto offer = [&](size_t left, size_t right) {
    if (left == kNone || right == kNone) return;
    const size_t bytes = symbols[left].bytes + symbols[right].bytes;
    const auto piece = trie_.find(text.substr(symbols[left].begin, bytes));
    if (piece) merges.push({scores_[*piece], left, right, bytes});
  };
  for (size_t i = 1; i < symbols.size(); ++i) offer(i - 1, i);
  while (!merges.empty()) {
    const Merge merge = merges.top();
    merges.pop();
    Symbol &left = symbols[merge.left], &right = symbols[merge.right];
    if (left.bytes == 0 || right.bytes == 0 || left.bytes + right.bytes != merge.bytes) continue;  // one has grown
    left.bytes = merge.bytes;
    left.next = right.next;
    if (right.next != kNone) symbols[right.next].previous = merge.left;
    right.bytes = 0;
    offer(left.previous, merge.left);
    offer(merge.left, left.next);
  }
  std::vector<Cut> cuts;
  for (const Symbol& symbol : symbols) {
    if (symbol.bytes == 0) continue;
    const auto piece = trie_.find(text.substr(symbol.begin, symbol.bytes));
    cuts.push_back({symbol.begin, symbol.begin + symbol.bytes, piece.value_or(kNoPiece)});
  }
  return cuts;
}

}  // namespace layalign::data
