#include "trainer/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "tests/unit/trainer/screen.h"

namespace layalign::trainer {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::MatchesRegex;
using testing::Not;

constexpr const char* kTime = "\\[[0-9-]+ [0-9:]+\\] ";

TEST(Log, TheTagNamesTheRankAndIsLeftOutInAWorldOfOne) {
  EXPECT_EQ(make_rank_tag(3, 8, 1, 0), "rank 03/08 tp1 dp0");
  EXPECT_EQ(make_rank_tag(0, 1, 0, 0), "");
}

TEST(Log, InformationGoesToStdoutAndTroubleToStderr) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  set_up_log("rank 00/02 tp0 dp0", true);
  log_info("hello {} 100%");
  log_warn("careful");
  log_error("broken");
  EXPECT_THAT(testing::internal::GetCapturedStdout(),
              MatchesRegex(std::string(kTime) + "\\[rank 00/02 tp0 dp0\\] \\[info\\] hello \\{\\} 100%\n"));
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              MatchesRegex(std::string(kTime) + "\\[rank 00/02 tp0 dp0\\] \\[warning\\] careful\n" + kTime +
                           "\\[rank 00/02 tp0 dp0\\] \\[error\\] broken\n"));
  set_up_log("", true);
}

TEST(Log, OtherRanksOnlyTellOfTrouble) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  set_up_log("rank 01/02 tp1 dp0", false);
  log_info("hello");
  log_warn("careful");
  EXPECT_THAT(testing::internal::GetCapturedStdout(), IsEmpty());
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("[rank 01/02 tp1 dp0] [warning] careful\n"));
  set_up_log("", true);
}

TEST(Log, ColoursOnATerminalOnly) {
  ::setenv("TERM", "xterm", 1);
  CapturedStdout pipe(Stdout::kPipe);
  log_info("hello");
  EXPECT_THAT(pipe.text(), Not(HasSubstr("\x1b")));
  CapturedStdout terminal(Stdout::kTerminal);
  log_info("hello");
  EXPECT_THAT(terminal.text(), HasSubstr("\x1b[32minfo"));
}

TEST(Log, LinesAppearAboveTheStatusLine) {
  CapturedStdout terminal(Stdout::kTerminal);
  show_status_line("status one, which is long");
  show_status_line("status two");
  log_info("hello");
  const std::string text = terminal.text();
  EXPECT_THAT(shown_lines(text), ElementsAre(MatchesRegex(std::string(kTime) + "\\[info\\] hello"), "status two"));
  show_status_line("");
}

TEST(Log, TheStatusLineNeverFillsTheLastColumn) {
  CapturedStdout terminal(Stdout::kTerminal);
  show_status_line(std::string(300, 'x'));
  EXPECT_THAT(shown_lines(terminal.text()), ElementsAre(std::string(CapturedStdout::kColumns - 1, 'x')));
  show_status_line("");
}

/// What a child process whose stdout is a terminal without a size, as under mpirun, takes for its width; 0: no
/// terminal.
int width_in_child(Stdout of_parent) {
  CapturedStdout parent(of_parent);
  const pid_t child = ::fork();
  if (child == 0) {
    int controller = -1, terminal = -1;
    winsize none{};
    if (::openpty(&controller, &terminal, nullptr, nullptr, &none) != 0) ::_exit(255);
    ::dup2(terminal, STDOUT_FILENO);
    ::_exit(stdout_is_terminal() ? stdout_width() : 0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

TEST(Log, UnderMpirunTheTerminalOfTheParentDecides) {
  EXPECT_EQ(width_in_child(Stdout::kTerminal), CapturedStdout::kColumns);
  EXPECT_EQ(width_in_child(Stdout::kPipe), 0);
  EXPECT_EQ(width_in_child(Stdout::kTerminalWithoutSize), 0);
}

}  // namespace
}  // namespace layalign::trainer
