#include "data/bpe.h"

#include <cstdio>
#include <queue>
#include <string>
#include <tuple>

#include "data/utf8.h"

namespace layalign::data {
namespace {

uint64_t pair_key(int32_t left, int32_t right) {
  return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

// A linked list of what the text is cut into.
struct Bpe::Symbol {
  int32_t id;
  int32_t previous;
  int32_t next;  // -1: the last
  bool merged;   // into its left neighbour
};

Bpe::Bpe(const std::vector<Piece>& pieces) : trie_(texts_of(pieces)) {
  uint32_t rank = 0;
  for (size_t id = 0; id < pieces.size(); ++id) {
    const std::string_view text = pieces[id].text;
    for (size_t cut = utf8_length(text, 0); cut < text.size(); cut += utf8_length(text, cut)) {
      const auto left = trie_.find(text.substr(0, cut));
      const auto right = left ? trie_.find(text.substr(cut)) : std::nullopt;
      if (right) merges_.emplace(pair_key(*left, *right), Merge{rank++, static_cast<int32_t>(id)});
    }
  }
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    byte_ids_[byte] = trie_.find(name).value_or(-1);
  }
}

void Bpe::encode(std::string_view text, std::vector<int64_t>& ids) const {
  std::vector<Symbol> symbols;
  symbols.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8_length(text, i);
    append_character(text.substr(i, length), symbols);
    i += length;
  }
  if (symbols.empty()) return;
  symbols.back().next = -1;
  merge_all(symbols);
  for (const Symbol& symbol : symbols) {
    if (!symbol.merged) ids.push_back(symbol.id);
  }
}

void Bpe::append_character(std::string_view character, std::vector<Symbol>& symbols) const {
  const auto append = [&](int32_t id) {
    const auto at = static_cast<int32_t>(symbols.size());
    symbols.push_back({.id = id, .previous = at - 1, .next = at + 1, .merged = false});
  };
  if (const auto id = trie_.find(character)) {
    append(*id);
    return;
  }
  for (const char byte : character) {
    if (byte_ids_[static_cast<uint8_t>(byte)] < 0) return;
  }
  for (const char byte : character) append(byte_ids_[static_cast<uint8_t>(byte)]);
}

const Bpe::Merge* Bpe::merge_of(int32_t left, int32_t right) const {
  const auto found = merges_.find(pair_key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void Bpe::merge_all(std::vector<Symbol>& symbols) const {
  struct Candidate {
    uint32_t rank;
    int32_t position;
    int32_t id;
    bool operator>(const Candidate& other) const {
      return std::tie(rank, position) > std::tie(other.rank, other.position);
    }
  };
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto consider = [&](int32_t left, int32_t right) {
    if (left < 0 || right < 0) return;
    const Merge* merge = merge_of(symbols[left].id, symbols[right].id);
    if (merge != nullptr) queue.push({merge->rank, left, merge->id});
  };
  for (size_t i = 0; i < symbols.size(); ++i) consider(static_cast<int32_t>(i), symbols[i].next);

  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbols[best.position];
    if (left.merged || left.next < 0) continue;
    Symbol& right = symbols[left.next];
    const Merge* merge = merge_of(left.id, right.id);
    if (merge == nullptr || merge->id != best.id) continue;  // an earlier merge has taken one of the two

    left.id = best.id;
    left.next = right.next;
    right.merged = true;
    if (left.next >= 0) symbols[left.next].previous = best.position;
    consider(left.previous, best.position);
    consider(best.position, left.next);
  }
}

}  // namespace layalign::data
