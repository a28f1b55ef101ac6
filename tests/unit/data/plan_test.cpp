#include "data/plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "data/error.h"

namespace layalign::data {
namespace {

/// `problems` problems in `languages` languages; the group is the problem.
class Problems : public Dataset {
 public:
  Problems(int64_t problems, int64_t languages) : problems_(problems), size_(problems * languages) {}
  int64_t size() const override { return size_; }
  Sample get(int64_t) const override { return {}; }
  const std::string& language(int64_t) const override { return language_; }
  std::string group(int64_t index) const override { return "problem " + std::to_string(index % problems_); }
  int64_t longest_source() const override { return 0; }
  std::string fingerprint() const override { return ""; }

 private:
  int64_t problems_, size_;
  std::string language_;
};

std::set<std::string> groups(const Dataset& dataset, const std::vector<int64_t>& indices) {
  std::set<std::string> names;
  for (int64_t index : indices) names.insert(dataset.group(index));
  return names;
}

TEST(Split, HoldsOutWholeProblems) {
  const Problems dataset(100, 10);
  for (int64_t dev_size : {1, 10, 37, 300}) {
    const auto split = split_by_group(dataset, dev_size, 0);
    EXPECT_EQ(static_cast<int64_t>(split.dev.size()), dev_size);
    EXPECT_EQ(static_cast<int64_t>(split.train.size() + split.dev.size()) + split.unused, dataset.size());
    for (const auto& group : groups(dataset, split.dev)) EXPECT_FALSE(groups(dataset, split.train).contains(group));
  }
}

TEST(Split, DependsOnTheProblemsAloneSoThatTwoStagesHoldOutTheSame) {
  const Problems nine(200, 9), ten(200, 10);
  const auto a = split_by_group(nine, 270, 7), b = split_by_group(ten, 300, 7);
  EXPECT_EQ(groups(nine, a.dev), groups(ten, b.dev));
  EXPECT_NE(groups(nine, a.dev), groups(nine, split_by_group(nine, 270, 8).dev));
}

TEST(Split, NoDevSetTakesEverythingInOrder) {
  const auto split = split_by_group(Problems(5, 2), 0, 0);
  std::vector<int64_t> all(10);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(split.train, all);
  EXPECT_TRUE(split.dev.empty());
}

TEST(Split, RefusesADevSetThatLeavesNothing) { EXPECT_THROW(split_by_group(Problems(5, 2), 10, 0), DataError); }

TEST(EpochOrder, IsAPermutationThatDependsOnSeedAndEpoch) {
  std::vector<int64_t> indices(1000);
  std::iota(indices.begin(), indices.end(), 0);
  const auto first = epoch_order(indices, 3, 0);
  EXPECT_EQ(first, epoch_order(indices, 3, 0));
  EXPECT_NE(first, epoch_order(indices, 3, 1));
  EXPECT_NE(first, epoch_order(indices, 4, 0));
  auto sorted = first;
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(sorted, indices);
}

TEST(EpochOrder, IsTheSameOnEveryMachine) {
  // The file format of a resume: a change of the shuffle would change every run's batches.
  EXPECT_EQ(epoch_order({0, 1, 2, 3, 4, 5, 6, 7}, 0, 0), (std::vector<int64_t>{1, 0, 6, 4, 3, 5, 2, 7}));
}

TEST(Deal, BalancesCostsAndForgetsNothing) {
  const std::vector<int64_t> costs = {9, 1, 1, 1, 8, 7, 2, 2, 5};
  const auto dealt = deal_by_cost(costs, 3);
  std::vector<int64_t> seen, loads;
  for (const auto& items : dealt) {
    EXPECT_TRUE(std::is_sorted(items.begin(), items.end()));
    int64_t load = 0;
    for (int64_t item : items) load += costs[item], seen.push_back(item);
    loads.push_back(load);
  }
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(seen, (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(*std::max_element(loads.begin(), loads.end()), 12);  // 36 in all, so 12 each is perfect
}

TEST(Deal, LeavesRanksWithoutItems) {
  const auto dealt = deal_by_cost(std::vector<int64_t>{4}, 3);
  EXPECT_EQ(dealt[0].size() + dealt[1].size() + dealt[2].size(), 1u);
}

}  // namespace
}  // namespace layalign::data
