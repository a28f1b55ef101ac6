#include "dist/agreement.h"

#include <gtest/gtest.h>

namespace {

using layalign::dist::describe_disagreement;

TEST(Agreement, is_silent_where_all_agree) {
  EXPECT_EQ(describe_disagreement({{{"a", "1"}, {"b", "2"}}, {{"a", "1"}, {"b", "2"}}}), "");
}

TEST(Agreement, groups_the_ranks_by_value) {
  EXPECT_EQ(describe_disagreement({{{"seed", "0"}}, {{"seed", "1"}}, {{"seed", "0"}}, {{"seed", "1"}}}),
            "the ranks disagree; start all of them with the same program, config and files:"
            "\n  seed:\n    ranks 0, 2: \"0\"\n    ranks 1, 3: \"1\"");
}

TEST(Agreement, shows_the_first_line_that_differs_in_a_long_value) {
  const std::string text =
      describe_disagreement({{{"config", "seed: 0\nlr: 1\n"}}, {{"config", "seed: 0\nlr: 2\nx: 3\n"}}});
  EXPECT_NE(text.find("line 2: \"lr: 1\""), std::string::npos) << text;
  EXPECT_NE(text.find("line 2: \"lr: 2\""), std::string::npos) << text;
  EXPECT_EQ(text.find("seed"), std::string::npos) << text;
}

TEST(Agreement, a_missing_topic_or_line_is_a_difference) {
  EXPECT_NE(describe_disagreement({{{"a", ""}}, {}}).find("rank 1: (not given)"), std::string::npos);
  const std::string text = describe_disagreement({{{"a", "x\ny\n"}}, {{"a", "x\n"}}});
  EXPECT_NE(text.find("line 2: (no such line)"), std::string::npos) << text;
}

}  // namespace
