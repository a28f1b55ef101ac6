#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace layalign::data {

/// Finds the strings of a fixed set that begin at a place of a text. Threads: immutable once built.
class PieceTrie {
 public:
  /// The value of a string is its index; of equal strings the last counts. Empty strings are left out.
  explicit PieceTrie(std::span<const std::string_view> strings);

  /// Calls visit(length in bytes, index) for every string that `text` begins with, shortest first.
  template <typename Visit>
  void prefixes(std::string_view text, Visit&& visit) const {
    uint32_t node = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      node = child(node, static_cast<uint8_t>(text[i]));
      if (node == 0) return;
      if (nodes_[node].value >= 0) visit(i + 1, nodes_[node].value);
    }
  }

  /// The index of exactly this string.
  std::optional<int32_t> find(std::string_view text) const;

 private:
  struct Node {
    uint32_t first_child = 0;  // children lie side by side, ascending by label
    uint16_t children = 0;
    uint8_t label = 0;
    int32_t value = -1;
  };

  // 0, the root, where there is none.
  uint32_t child(uint32_t node, uint8_t label) const;

  std::vector<Node> nodes_;
};

}  // namespace layalign::data
