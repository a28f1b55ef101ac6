#include "data/plan.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "data/error.h"

namespace layalign::data {
namespace {

/// SplitMix64 (Steele, Lea and Flood, 2014): a full-period mixer whose output is the same everywhere.
uint64_t mix(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15ULL);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

/// A uniform integer in [0, bound), without modulo bias.
uint64_t below(uint64_t bound, uint64_t& state) {
  const uint64_t limit = ~uint64_t{0} - ~uint64_t{0} % bound;
  uint64_t value = mix(state);
  while (value >= limit) value = mix(state);
  return value % bound;
}

uint64_t keyed_hash(const std::string& text, uint64_t seed) {
  uint64_t state = seed;
  uint64_t hash = mix(state);
  for (unsigned char c : text) {
    state = hash ^ c;
    hash = mix(state);
  }
  return hash;
}

}  // namespace

Split split_by_group(const Dataset& dataset, int64_t dev_size, uint64_t seed) {
  return split_by_group(
      dataset.size(), [&](int64_t index) { return dataset.group(index); }, dev_size, seed);
}

Split split_by_group(int64_t size, const std::function<std::string(int64_t)>& group, int64_t dev_size, uint64_t seed) {
  Split split;
  if (dev_size == 0) {
    split.train.resize(size);
    std::iota(split.train.begin(), split.train.end(), 0);
    return split;
  }
  std::unordered_map<std::string, std::vector<int64_t>> members;
  for (int64_t i = 0; i < size; ++i) members[group(i)].push_back(i);
  std::vector<std::pair<uint64_t, const std::string*>> ranking;
  for (const auto& [name, indices] : members) ranking.emplace_back(keyed_hash(name, seed), &name);
  std::sort(ranking.begin(), ranking.end(),
            [](const auto& a, const auto& b) { return std::tie(a.first, *a.second) < std::tie(b.first, *b.second); });
  for (const auto& [hash, name] : ranking) {
    const auto& indices = members[*name];
    const int64_t missing = dev_size - static_cast<int64_t>(split.dev.size());
    if (missing > 0) {
      const auto taken = std::min<int64_t>(missing, static_cast<int64_t>(indices.size()));
      split.dev.insert(split.dev.end(), indices.begin(), indices.begin() + taken);
      split.unused += static_cast<int64_t>(indices.size()) - taken;
    } else {
      split.train.insert(split.train.end(), indices.begin(), indices.end());
    }
  }
  std::sort(split.train.begin(), split.train.end());
  std::sort(split.dev.begin(), split.dev.end());
  if (split.train.empty()) {
    throw DataError("dev_size " + std::to_string(dev_size) + " leaves nothing to train on: the corpus has " +
                    std::to_string(size) + " samples in " + std::to_string(ranking.size()) + " groups (problems), which are held out whole; set dev_size lower (0: no dev set)");
  }
  return split;
}

std::vector<int64_t> epoch_order(std::vector<int64_t> indices, uint64_t seed, int64_t epoch) {
  uint64_t state = seed;
  state = mix(state) + static_cast<uint64_t>(epoch);
  for (size_t i = indices.size(); i > 1; --i) std::swap(indices[i - 1], indices[below(i, state)]);
  return indices;
}

std::vector<std::vector<int64_t>> deal_by_cost(std::span<const int64_t> costs, int ranks) {
  std::vector<int64_t> order(costs.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return costs[a] > costs[b]; });
  std::vector<std::vector<int64_t>> dealt(ranks);
  std::vector<int64_t> load(ranks, 0);
  for (int64_t item : order) {
    const auto rank = std::min_element(load.begin(), load.end()) - load.begin();
    dealt[rank].push_back(item);
    load[rank] += costs[item];
  }
  for (auto& items : dealt) std::sort(items.begin(), items.end());
  return dealt;
}

}  // namespace layalign::data
