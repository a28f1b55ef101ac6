#include "dist/verdict.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string_view>

namespace layalign::dist {
namespace {

constexpr size_t kMostLines = 16;  // ranks that are listed one by one

std::string rounded_seconds(double value) { return std::to_string(static_cast<int64_t>(std::lround(value))) + " s"; }

std::string rank_on_host(const std::vector<RankView>& by_rank, int rank) {
  return "rank " + std::to_string(rank) + " (" + by_rank[static_cast<size_t>(rank)].host + ")";
}

std::string what_it_does(const RankView& view) {
  return "in " + describe_section(view.beat.activity) + ", " + describe_collective(view.beat.activity);
}

bool is_in_collective(const RankView& view) { return view.beat.activity.in_collective != 0; }

/// The ranks of the group in which `rank` waits that have not begun the collective that the foremost of them is in.
std::vector<int> ranks_behind(const std::vector<RankView>& by_rank, int rank) {
  const auto& record = by_rank[static_cast<size_t>(rank)].beat.activity;
  const auto kind = static_cast<size_t>(record.last_group);
  const GroupProgress& group = record.last();
  int64_t foremost = 0;
  for (int i = 0; i < group.size; ++i) {
    foremost = std::max(foremost, by_rank[static_cast<size_t>(group.first_rank + i)].beat.activity.groups[kind].sequence);
  }
  std::vector<int> behind;
  for (int i = group.first_rank; i < group.first_rank + group.size; ++i) {
    if (by_rank[static_cast<size_t>(i)].beat.activity.groups[kind].sequence < foremost) behind.push_back(i);
  }
  return behind;
}

/// Follows who waits for whom, from `rank` on, to those that wait for nobody who is behind.
void follow(const std::vector<RankView>& by_rank, int rank, std::set<int>& seen, std::set<int>& culprits) {
  if (!seen.insert(rank).second) return;
  if (!is_in_collective(by_rank[static_cast<size_t>(rank)])) {
    culprits.insert(rank);
    return;
  }
  for (const int next : ranks_behind(by_rank, rank)) {
    if (next == rank) {
      culprits.insert(rank);  // in a collective that the others have left
    } else {
      follow(by_rank, next, seen, culprits);
    }
  }
}

/// Where ranks wait for each other: the fewest that are behind in a group in which another one waits. They have skipped a
/// collective there; of two such sets the one of a tensor-parallel group, whose collectives come first in a step.
std::set<int> ranks_that_skipped(const std::vector<RankView>& by_rank) {
  std::set<int> fewest;
  bool of_tensor_parallel = false;
  for (size_t rank = 0; rank < by_rank.size(); ++rank) {
    if (!is_in_collective(by_rank[rank])) continue;
    const auto behind = ranks_behind(by_rank, static_cast<int>(rank));
    if (behind.empty()) continue;
    const bool is_tensor_parallel = by_rank[rank].beat.activity.last_group == GroupKind::kTensorParallel;
    const bool better = fewest.empty() || behind.size() < fewest.size() ||
                        (behind.size() == fewest.size() && is_tensor_parallel && !of_tensor_parallel);
    if (!better) continue;
    fewest = {behind.begin(), behind.end()};
    of_tensor_parallel = is_tensor_parallel;
  }
  return fewest;
}

/// Ranks that are in another operation than the first of their group, under the same number.
std::set<int> ranks_in_other_operations(const std::vector<RankView>& by_rank) {
  std::set<int> others;
  for (size_t rank = 0; rank < by_rank.size(); ++rank) {
    const auto& record = by_rank[rank].beat.activity;
    if (!is_in_collective(by_rank[rank])) continue;
    const auto& first = by_rank[static_cast<size_t>(record.last().first_rank)].beat.activity;
    const bool same_place = first.in_collective != 0 && first.last_group == record.last_group &&
                            first.last().sequence == record.last().sequence;
    if (same_place && first.last_operation != record.last_operation) others.insert(static_cast<int>(rank));
  }
  return others;
}

std::string list(const std::vector<RankView>& by_rank, const std::set<int>& ranks, const std::string& verdict) {
  std::string text;
  size_t lines = 0;
  for (const int rank : ranks) {
    if (++lines > kMostLines) return text + "\n  and " + std::to_string(ranks.size() - kMostLines) + " more";
    const RankView& view = by_rank[static_cast<size_t>(rank)];
    text += "\n  " + rank_on_host(by_rank, rank) + " " + verdict + ": for " + rounded_seconds(view.beat.idle_s) + " it has been " +
            what_it_does(view);
  }
  return text;
}

std::string silent_ranks(const std::vector<RankView>& by_rank, double silent_after_s) {
  std::string text;
  size_t lines = 0;
  for (size_t rank = 0; rank < by_rank.size() && lines < kMostLines; ++rank) {
    const RankView& view = by_rank[rank];
    if (view.silent_s < silent_after_s) continue;
    ++lines;
    text += "\n  " + rank_on_host(by_rank, static_cast<int>(rank)) + " has given no sign of life for " + rounded_seconds(view.silent_s) +
            " (stopped, swapped out, or its node is gone)";
    if (view.heard) text += "; then it was " + what_it_does(view);
  }
  return text;
}

}  // namespace

std::string find_culprits(const std::vector<RankView>& by_rank, double silent_after_s) {
  if (auto silent = silent_ranks(by_rank, silent_after_s); !silent.empty()) return silent;
  std::set<int> seen, culprits;
  for (size_t rank = 0; rank < by_rank.size(); ++rank) {
    if (is_in_collective(by_rank[rank])) follow(by_rank, static_cast<int>(rank), seen, culprits);
  }
  if (!culprits.empty()) return list(by_rank, culprits, "is behind");
  if (const auto skipped = ranks_that_skipped(by_rank); !skipped.empty()) {
    return list(by_rank, skipped, "has skipped a collective in which others wait");
  }
  if (const auto others = ranks_in_other_operations(by_rank); !others.empty()) {
    return list(by_rank, others, "is in another operation than the first rank of its group");
  }
  std::set<int> busy, waiting;
  for (size_t rank = 0; rank < by_rank.size(); ++rank) {
    (is_in_collective(by_rank[rank]) ? waiting : busy).insert(static_cast<int>(rank));
  }
  // On GPUs a collective has begun when it is queued: whoever has queued fewer is behind.
  std::set<int> behind;
  for (const int rank : busy) {
    const auto group = ranks_behind(by_rank, rank);
    behind.insert(group.begin(), group.end());
  }
  if (!behind.empty()) return list(by_rank, behind, "is behind");
  if (!busy.empty()) return list(by_rank, busy, "does not go on");
  return "\n  no rank is behind: the network, or a GPU, does not go on" + list(by_rank, waiting, "waits");
}

}  // namespace layalign::dist
