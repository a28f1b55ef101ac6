#include "data/charsmap.h"

#include "data/error.h"
#include "data/graphemes.h"
#include "data/utf8.h"

namespace layalign::data {
namespace {

// Clusters of this many bytes and more are looked up character by character.
constexpr size_t kLongCluster = 6;

uint32_t little_endian(std::string_view bytes) {
  uint32_t value = 0;
  for (int i = 3; i >= 0; --i) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

// The fields that a Darts unit packs.
bool has_leaf(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t leaf_value(uint32_t unit) { return unit & 0x7FFFFFFF; }
uint32_t label(uint32_t unit) { return unit & 0x800000FF; }
uint32_t offset(uint32_t unit) { return (unit >> 10) << ((unit & 0x200) >> 6); }

}  // namespace

Charsmap::Charsmap(std::string_view bytes) {
  const auto require = [](bool holds) {
    if (!holds) throw DataError("the normalisation rules (precompiled_charsmap) are damaged");
  };
  require(bytes.size() >= 4);
  const uint32_t trie_bytes = little_endian(bytes);
  bytes.remove_prefix(4);
  require(trie_bytes >= 4 && trie_bytes % 4 == 0 && trie_bytes <= bytes.size());
  units_.reserve(trie_bytes / 4);
  for (uint32_t i = 0; i < trie_bytes; i += 4) units_.push_back(little_endian(bytes.substr(i)));
  replacements_ = bytes.substr(trie_bytes);
  require(!first_invalid_utf8(replacements_));
}

std::string Charsmap::normalize(std::string_view text) const {
  std::string out;
  out.reserve(text.size());
  const auto append_shortest = [&](std::string_view part) {
    bool fits = false;
    visit_rules(part, [&](const Rule& rule) {
      out += rule.replacement;
      fits = true;
      return false;
    });
    return fits;
  };
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = grapheme_end(text, begin);
    const std::string_view cluster = text.substr(begin, end - begin);
    begin = end;
    if (cluster.size() < kLongCluster && append_shortest(cluster)) continue;
    for (size_t i = 0; i < cluster.size();) {
      const std::string_view character = cluster.substr(i, utf8_length(cluster, i));
      if (!append_shortest(character)) out += character;
      i += character.size();
    }
  }
  return out;
}

std::optional<Charsmap::Rule> Charsmap::longest_rule(std::string_view text) const {
  std::optional<Rule> longest;
  visit_rules(text, [&](const Rule& rule) {
    longest = rule;
    return true;
  });
  return longest;
}

template <typename Visit>
void Charsmap::visit_rules(std::string_view text, Visit&& visit) const {
  size_t node = offset(units_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    if (byte == 0) return;
    node ^= byte;
    if (node >= units_.size() || label(units_[node]) != byte) return;
    const uint32_t unit = units_[node];
    node ^= offset(unit);
    if (!has_leaf(unit)) continue;
    const size_t place = node < units_.size() ? leaf_value(units_[node]) : replacements_.size();
    const bool inside = place < replacements_.size() && (static_cast<uint8_t>(replacements_[place]) & 0xC0) != 0x80;
    if (!inside) throw DataError("the normalisation rules of the tokenizer (precompiled_charsmap) are damaged");
    if (!visit(Rule{i + 1, replacements_.c_str() + place})) return;
  }
}

}  // namespace layalign::data
