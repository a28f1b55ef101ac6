#include "data/unigram.h"

#include <algorithm>

#include "data/best_path.h"
#include "data/text_space.h"
#include "data/utf8.h"

namespace layalign::data {
namespace {

// How much worse than the worst piece an unknown character is.
constexpr double kUnknownPenalty = 10.0;

}  // namespace

Unigram::Unigram(const std::vector<Piece>& pieces, int64_t unknown_id, bool byte_fallback)
    : trie_(texts_of(pieces)), unknown_id_(unknown_id) {
  scores_.reserve(pieces.size());
  for (const Piece& piece : pieces) scores_.push_back(piece.score);
  unknown_score_ = *std::min_element(scores_.begin(), scores_.end()) - kUnknownPenalty;
  byte_ids_.fill(-1);
  for (int byte = 0; byte_fallback && byte < 256; ++byte) {
    byte_ids_[byte] = trie_.find(byte_token(static_cast<uint8_t>(byte))).value_or(-1);
  }
}

void Unigram::encode(std::string_view word, std::vector<int64_t>& ids) const {
  const auto steps = best_path(word, trie_, scores_, unknown_id_, unknown_score_);
  const size_t first = ids.size();
  for (size_t end = word.size(); end > 0;) {
    size_t begin = steps[end].begin;
    const int64_t id = steps[end].piece;
    if (id == unknown_id_) {
      while (begin > 0 && steps[begin].piece == unknown_id_) begin = steps[begin].begin;
      append_unknown(word.substr(begin, end - begin), ids);
    } else {
      ids.push_back(id);
    }
    end = begin;
  }
  std::reverse(ids.begin() + static_cast<std::ptrdiff_t>(first), ids.end());
}

void Unigram::append_unknown(std::string_view text, std::vector<int64_t>& ids) const {
  // Unknown characters together may spell a piece after all.
  const auto whole = trie_.find(text);
  const auto has_byte = [&](char byte) { return byte_ids_[static_cast<uint8_t>(byte)] >= 0; };
  if (whole || !std::ranges::all_of(text, has_byte)) {
    ids.push_back(whole ? *whole : unknown_id_);
  } else {
    for (size_t i = text.size(); i > 0; --i) ids.push_back(byte_ids_[static_cast<uint8_t>(text[i - 1])]);
  }
}

}  // namespace layalign::data
