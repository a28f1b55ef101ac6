#include "trainer/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/screen.h"

namespace layalign::trainer {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;

StepMetrics at_step(int64_t step) {
  return {.stage = "translation",
          .step = step,
          .loss = 3.21043,
          .grad_norm = 0.8125,
          .lr = 9.1e-4,
          .tokens_per_s = 5321.2,
          .samples_per_s = 11.5};
}

TEST(Progress, DurationsAreShort) {
  EXPECT_EQ(format_duration(0.4), "0s");
  EXPECT_EQ(format_duration(59.4), "59s");
  EXPECT_EQ(format_duration(59.6), "1m00s");
  EXPECT_EQ(format_duration(100), "1m40s");
  EXPECT_EQ(format_duration(3 * 3600 + 5 * 60), "3h05m");
  EXPECT_EQ(format_duration(2 * 86400 + 4 * 3600), "2d04h");
}

TEST(Progress, APipeGetsALineEveryFewStepsAndTheLastOne) {
  CapturedStdout pipe(Stdout::kPipe);
  Progress progress("translation", 0, 2, 25, 10, stdout_is_terminal());
  for (int64_t step = 1; step <= 25; ++step) progress.step(at_step(step));
  progress.finish();
  const std::string numbers = "  loss 3.2104  grad 0.81  lr 9.1e-04  5321 tok/s  11.5 samples/s";
  EXPECT_THAT(shown_lines(pipe.text()),
              ElementsAre(MatchesRegex(".*\\] stage 1/2 translation  step 10/25" + numbers + "  ETA [0-9]+s"),
                          MatchesRegex(".*\\] stage 1/2 translation  step 20/25" + numbers + "  ETA [0-9]+s"),
                          MatchesRegex(".*\\] stage 1/2 translation  step 25/25" + numbers), ""));
}

TEST(Progress, ALineHasTheSharesOfThePhases) {
  CapturedStdout pipe(Stdout::kPipe);
  Progress progress("task", 1, 2, 1, 1, stdout_is_terminal());
  StepMetrics metrics = at_step(1);
  metrics.mfu = 0.4123;
  metrics.phase_s = PhaseSeconds{0.01, 0.09, 0.3, 0.5, 0.04, 0.06};
  progress.step(metrics);
  EXPECT_THAT(
      pipe.text(),
      HasSubstr(
          "5321 tok/s  MFU 41.2 %  11.5 samples/s  data 1, encoder 9, forward 30, backward 50, reduce 4, update 6 %"));
}

TEST(Progress, ATerminalGetsABarBelowTheLines) {
  CapturedStdout terminal(Stdout::kTerminal);
  ASSERT_TRUE(stdout_is_terminal());
  Progress progress("task", 1, 2, 4, 1, true);
  progress.step(at_step(1));
  log_info("saved");
  std::string text = terminal.text();  // the bar is still there, at a quarter
  const std::vector<std::string> lines = shown_lines(text);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_THAT(lines[0], HasSubstr("[info] saved"));
  EXPECT_THAT(lines[1], AllOf(HasSubstr("stage 2/2 task ["), HasSubstr("]  step 1/4")));
  EXPECT_EQ(lines[1].size(), static_cast<size_t>(CapturedStdout::kColumns - 1)) << lines[1];
}

TEST(Progress, ATerminalIsCleanInTheEndAndKeepsTheLastStep) {
  CapturedStdout terminal(Stdout::kTerminal);
  {
    Progress progress("task", 1, 2, 4, 1, true);
    for (int64_t step = 1; step <= 4; ++step) progress.step(at_step(step));
    progress.finish();
  }
  const std::string text = terminal.text();
  EXPECT_THAT(text, HasSubstr("#"));
  EXPECT_THAT(shown_lines(text), ElementsAre(AllOf(HasSubstr("stage 2/2 task  step 4/4"), Not(HasSubstr("#"))), ""));
}

TEST(Progress, AnErrorDoesNotFollowTheBarOnItsLine) {
  CapturedStdout terminal(Stdout::kTerminal);
  try {
    Progress progress("task", 1, 2, 4, 1, true);
    progress.step(at_step(1));
    throw std::runtime_error("stop");
  } catch (const std::runtime_error&) {
    log_info("stopped");
  }
  EXPECT_THAT(shown_lines(terminal.text()), ElementsAre(HasSubstr("[info] stopped"), ""));
}

}  // namespace
}  // namespace layalign::trainer
