#include "data/bpe.h"

#include <queue>
#include <string>
#include <tuple>

#include "data/error.h"
#include "data/text_space.h"
#include "data/utf8.h"

namespace layalign::data {
namespace {

uint64_t pair_key(int64_t left, int64_t right) {
  return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

// A linked list of what the word is cut into.
struct Bpe::Symbol {
  int64_t id;
  int32_t previous;
  int32_t next;  // -1: the last
  bool merged;   // into its left neighbour
};

struct Bpe::Symbols {
  std::vector<Symbol> list;
  bool unknown_pending = false;  // an unknown character that may still grow

  void append(int64_t id) {
    const auto at = static_cast<int32_t>(list.size());
    list.push_back({.id = id, .previous = at - 1, .next = at + 1, .merged = false});
  }
};

Bpe::Bpe(const std::vector<Token>& tokens, BpeRules rules) : rules_(std::move(rules)), trie_(texts_of(tokens)) {
  ids_.reserve(tokens.size());
  for (const Token& token : tokens) ids_.push_back(token.id);
  merges_.reserve(rules_.merges.size());
  uint32_t rank = 0;
  for (const BpeMerge& merge : rules_.merges) {
    merges_.insert_or_assign(pair_key(merge.left, merge.right), Merge{rank++, merge.merged});
  }
  rules_.merges.clear();
  for (int byte = 0; byte < 256; ++byte) byte_ids_[byte] = find(byte_token(static_cast<uint8_t>(byte))).value_or(-1);
}

std::optional<int64_t> Bpe::find(std::string_view text) const {
  const auto index = trie_.find(text);
  return index ? std::optional(ids_[*index]) : std::nullopt;
}

void Bpe::encode(std::string_view word, std::vector<int64_t>& ids) const {
  if (rules_.whole_words_first) {
    if (const auto id = find(word)) {
      ids.push_back(*id);
      return;
    }
  }
  Symbols symbols;
  symbols.list.reserve(word.size());
  const bool is_decorated = !rules_.continuing_prefix.empty() || !rules_.end_suffix.empty();
  for (size_t i = 0; i < word.size();) {
    const size_t end = i + utf8_length(word, i);
    const std::string_view character = word.substr(i, end - i);
    if (is_decorated) {
      append_character((i > 0 ? rules_.continuing_prefix : "") + std::string(character) +
                           (end == word.size() ? rules_.end_suffix : ""),
                       symbols);
    } else {
      append_character(character, symbols);
    }
    i = end;
  }
  if (symbols.unknown_pending) symbols.append(*rules_.unknown_id);
  if (symbols.list.empty()) return;
  symbols.list.back().next = -1;
  merge_all(symbols.list);
  for (const Symbol& symbol : symbols.list) {
    if (!symbol.merged) ids.push_back(symbol.id);
  }
}

void Bpe::append_character(std::string_view character, Symbols& symbols) const {
  if (const auto id = find(character)) {
    if (symbols.unknown_pending) symbols.append(*rules_.unknown_id);
    symbols.unknown_pending = false;
    symbols.append(*id);
    return;
  }
  bool has_bytes = rules_.byte_fallback;
  for (const char byte : character) has_bytes = has_bytes && byte_ids_[static_cast<uint8_t>(byte)] >= 0;
  if (has_bytes) {
    // An unknown character before it stays pending, and so comes behind the bytes: as in the Hugging Face tokenizers.
    for (const char byte : character) symbols.append(byte_ids_[static_cast<uint8_t>(byte)]);
  } else if (rules_.unknown_id == BpeRules::kNoUnknown) {
    throw DataError("'" + std::string(character) + "' is no token, and the tokenizer's unk_token is not in its vocab");
  } else if (rules_.unknown_id) {
    if (symbols.unknown_pending && !rules_.fuse_unknown) symbols.append(*rules_.unknown_id);
    symbols.unknown_pending = true;
  }
}

const Bpe::Merge* Bpe::merge_of(int64_t left, int64_t right) const {
  const auto found = merges_.find(pair_key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void Bpe::merge_all(std::vector<Symbol>& symbols) const {
  struct Candidate {
    uint32_t rank;
    int32_t position;
    int64_t id;
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

std::vector<BpeMerge> sentencepiece_merges(const std::vector<Piece>& pieces) {
  const PieceTrie trie(texts_of(pieces));
  std::vector<BpeMerge> merges;
  for (size_t id = 0; id < pieces.size(); ++id) {
    const std::string_view text = pieces[id].text;
    trie.prefixes(text, [&](size_t cut, int32_t left) {
      const auto right = trie.find(text.substr(cut));
      if (right) merges.push_back({left, *right, static_cast<int64_t>(id)});
    });
  }
  return merges;
}

}  // namespace layalign::data
