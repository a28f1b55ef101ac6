#include "data/piece_trie.h"

#include <algorithm>
#include <numeric>

namespace layalign::data {

PieceTrie::PieceTrie(std::span<const std::string_view> strings) {
  std::vector<int32_t> order(strings.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return strings[a] < strings[b]; });

  // Breadth first, so that the children of a node lie side by side. pending[i] is what node i stands for.
  struct Pending {
    size_t begin, end, depth;  // the sorted strings that share this prefix of `depth` bytes
  };
  nodes_.emplace_back();
  std::vector<Pending> pending{{0, order.size(), 0}};
  for (size_t n = 0; n < pending.size(); ++n) {
    auto [i, end, depth] = pending[n];
    for (; i < end && strings[order[i]].size() == depth; ++i) {
      if (depth > 0) nodes_[n].value = order[i];
    }
    nodes_[n].first_child = static_cast<uint32_t>(nodes_.size());
    while (i < end) {
      const char label = strings[order[i]][depth];
      size_t next = i;
      while (next < end && strings[order[next]][depth] == label) ++next;
      nodes_.push_back({.label = static_cast<uint8_t>(label)});
      pending.push_back({i, next, depth + 1});
      ++nodes_[n].children;
      i = next;
    }
  }
}

uint32_t PieceTrie::child(uint32_t node, uint8_t label) const {
  const auto begin = nodes_.begin() + nodes_[node].first_child;
  const auto end = begin + nodes_[node].children;
  const auto found =
      std::lower_bound(begin, end, label, [](const Node& child, uint8_t value) { return child.label < value; });
  return found != end && found->label == label ? static_cast<uint32_t>(found - nodes_.begin()) : 0;
}

std::optional<int32_t> PieceTrie::find(std::string_view text) const {
  uint32_t node = 0;
  for (const char c : text) {
    node = child(node, static_cast<uint8_t>(c));
    if (node == 0) return std::nullopt;
  }
  return nodes_[node].value >= 0 ? std::optional(nodes_[node].value) : std::nullopt;
}

}  // namespace layalign::data
