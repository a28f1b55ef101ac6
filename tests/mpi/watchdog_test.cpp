// Runs mpirun itself, so this suite is one ordinary process.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/mpi/mpi_program.h"

namespace {

using layalign::test::Outcome;
using testing::HasSubstr;
using testing::Not;

Outcome hang(int ranks, const std::string& how, int rank, int limit_s = 2) {
  return run_under_mpi(ranks, std::string(HANGING_RANK) + " " + how + " " + std::to_string(rank) + " " + std::to_string(limit_s));
}

std::string culprit(int rank) { return "\n  rank " + std::to_string(rank) + " ("; }

TEST(Watchdog, NamesARankThatGivesNoSignOfLife) {
  for (const auto& [ranks, rank] : {std::pair(2, 1), {2, 0}, {4, 2}, {4, 3}}) {  // observers, too: the first rank and the last
    const Outcome outcome = hang(ranks, "stop", rank, 4);  // silent is who is not heard for 2 s
    EXPECT_EQ(outcome.code, 70) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr(culprit(rank))) << ranks;
    EXPECT_THAT(outcome.output, HasSubstr("no sign of life"));
    EXPECT_THAT(outcome.output, HasSubstr("in step 1, in no collective; the last one was all_reduce number 3 of world"));
  }
}

TEST(Watchdog, DoesNotWaitForTheLimitOfASectionThatASilentRankMayHaveLeft) {
  const Outcome outcome = hang(2, "stop_at_once", 1);  // it was heard in the set-up, whose limit is 60 s
  EXPECT_EQ(outcome.code, 70) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr(culprit(1)));
  EXPECT_THAT(outcome.output, HasSubstr("(watchdog.step)"));
}

TEST(Watchdog, NamesARankThatDoesNotComeToACollective) {
  for (const auto& [ranks, rank] : {std::pair(2, 0), {4, 1}, {4, 2}}) {
    const Outcome outcome = hang(ranks, "loop", rank);
    EXPECT_EQ(outcome.code, 70) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr(culprit(rank))) << ranks;
    EXPECT_THAT(outcome.output, HasSubstr("is behind"));
    for (int other = 0; other < ranks; ++other) {
      if (other != rank) EXPECT_THAT(outcome.output, Not(HasSubstr(culprit(other)))) << ranks;
    }
  }
}

TEST(Watchdog, NamesARankThatHasSkippedACollective) {
  for (const auto& [ranks, rank] : {std::pair(4, 1), {4, 2}}) {
    const Outcome outcome = hang(ranks, "skip", rank);
    EXPECT_EQ(outcome.code, 70) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr(culprit(rank)));
    EXPECT_THAT(outcome.output, HasSubstr("has skipped a collective in which others wait"));
    EXPECT_THAT(outcome.output, HasSubstr("in all_reduce number 4 of world"));
  }
}

TEST(Watchdog, LetsRanksWaitForOneThatGoesOn) {
  const Outcome outcome = hang(4, "work", 2);
  EXPECT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, Not(HasSubstr("watchdog")));
}

TEST(Watchdog, EndsARankThatIsAlone) {
  const Outcome outcome = hang(1, "loop", 0);
  EXPECT_EQ(outcome.code, 70) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("does not go on"));
}

}  // namespace
