#include "dist/verdict.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace layalign::dist {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// Four ranks, tp groups 0-1 and 2-3, all in all_reduce number 7 of their tp group; two of world are done.
std::vector<RankView> four_ranks() {
  std::vector<RankView> ranks(4);
  for (int i = 0; i < 4; ++i) {
    ranks[i].host = "host" + std::to_string(i / 2);
    ranks[i].heard = true;
    ranks[i].beat.rank = i;
    Activity activity;
    activity.enter(Section::kStep, 5);
    ranks[i].beat.activity = activity.read();
    auto& record = ranks[i].beat.activity;
    record.groups = {GroupProgress{0, 4, 2}, {i / 2 * 2, 2, 7}, {0, 4, 9}};
    record.last_group = GroupKind::kTensorParallel;
    record.last_operation = {"all_reduce"};
    record.in_collective = 1;
  }
  return ranks;
}

void wait_in_world(RankView& rank, int64_t number) {
  rank.beat.activity.last_group = GroupKind::kWorld;
  rank.beat.activity.groups[0].sequence = number;
}

TEST(FindCulprits, NamesTheRankThatIsBehindInTheGroupWhereTheOthersWait) {
  auto ranks = four_ranks();
  for (int i : {0, 1}) wait_in_world(ranks[i], 3);
  ranks[3].beat.activity.groups[1].sequence = 6;
  ranks[3].beat.activity.in_collective = 0;
  ranks[3].beat.idle_s = 12.4;
  // Rank 2 is behind in world as well, but only because it waits for rank 3.
  EXPECT_EQ(find_culprits(ranks, 2),
            "\n  rank 3 (host1) is behind: for 12 s it has been in step 5, in no collective; the last one was all_reduce number 6 of tp"
            " (ranks 2-3)");
}

TEST(FindCulprits, DataParallelReplicasMayHaveRunDifferentNumbersOfCollectives) {
  auto ranks = four_ranks();
  for (int i : {0, 1, 2}) wait_in_world(ranks[i], 3);
  for (int i : {2, 3}) ranks[i].beat.activity.groups[1].sequence = 2;  // fewer micro-batches than the other replica
  ranks[3].beat.activity.in_collective = 0;
  const auto text = find_culprits(ranks, 2);
  EXPECT_THAT(text, AllOf(HasSubstr("rank 3 (host1) is behind"), Not(HasSubstr("rank 2")), Not(HasSubstr("rank 0"))));
}

TEST(FindCulprits, ARankWithoutASignOfLifeComesFirst) {
  auto ranks = four_ranks();
  ranks[1].silent_s = 30;
  ranks[3].beat.activity.in_collective = 0;
  EXPECT_THAT(find_culprits(ranks, 2), AllOf(HasSubstr("rank 1 (host0) has given no sign of life for 30 s"), Not(HasSubstr("rank 3"))));
  ranks[1].heard = false;
  EXPECT_THAT(find_culprits(ranks, 2), Not(HasSubstr("then it was")));
}

TEST(FindCulprits, OfRanksThatWaitForEachOtherTheOneThatSkippedACollective) {
  auto ranks = four_ranks();
  ranks[2].beat.activity.groups[1].sequence = 6;
  wait_in_world(ranks[2], 3);
  EXPECT_THAT(find_culprits(ranks, 2), AllOf(HasSubstr("rank 2 (host1) has skipped a collective"), HasSubstr("number 3 of world"),
                                             Not(HasSubstr("rank 3"))));
}

TEST(FindCulprits, ARankInAnotherOperation) {
  auto ranks = four_ranks();
  ranks[1].beat.activity.last_operation = {"broadcast"};
  EXPECT_THAT(find_culprits(ranks, 2), AllOf(HasSubstr("rank 1 (host0) is in another operation"), HasSubstr("broadcast number 7 of tp")));
}

TEST(FindCulprits, WhereAllWaitInTheSamePlaceNobodyIsBlamed) {
  EXPECT_THAT(find_culprits(four_ranks(), 2), HasSubstr("no rank is behind: the network, or a GPU, does not go on"));
}

TEST(FindCulprits, WithoutCollectivesWhoeverDoesNotGoOn) {
  auto ranks = four_ranks();
  for (auto& rank : ranks) rank.beat.activity.in_collective = 0;
  EXPECT_THAT(find_culprits(ranks, 2), AllOf(HasSubstr("rank 0 (host0) does not go on"), HasSubstr("rank 3 (host1) does not go on")));
}

TEST(Activity, SaysWhereARankIs) {
  Activity activity;
  EXPECT_EQ(describe_section(activity.read()), "the set-up");
  EXPECT_EQ(describe_collective(activity.read()), "in no collective, there was none yet");
  {
    const CollectiveScope scope(&activity, GroupKind::kControl, {0, 2, 1}, "all_gather");
    EXPECT_EQ(describe_collective(activity.read()), "in all_gather number 1 of the control channel (ranks 0-1)");
  }
  EXPECT_EQ(describe_collective(activity.read()),
            "in no collective; the last one was all_gather number 1 of the control channel (ranks 0-1)");
  const int64_t before = activity.read().progress;
  activity.enter(Section::kEvaluation, 3);
  EXPECT_EQ(describe_section(activity.read()), "the evaluation, batch 3");
  EXPECT_GT(activity.read().progress, before);
}

}  // namespace
}  // namespace layalign::dist
