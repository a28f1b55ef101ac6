#include "trainer/scoring.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

namespace layalign::trainer {
namespace {

using data::EvaluationTask;

bool is_right(EvaluationTask task, std::string_view answer, std::string_view output) {
  return score(task, answer, output).correct;
}

TEST(Scoring, TheLastNumberCounts) {
  EXPECT_EQ(last_number("5 + 7 = 12 apples"), 12);
  EXPECT_EQ(last_number("The answer is: 3.50"), 3.5);
  EXPECT_EQ(last_number("It is 18."), 18);
  EXPECT_EQ(last_number("18.0.5"), 5);  // "18.0", then "5"
  EXPECT_EQ(last_number("2.x"), 2);
  EXPECT_EQ(last_number("x.25"), 25);  // a digit must stand before the point
  EXPECT_EQ(last_number("007"), 7);
}

TEST(Scoring, NoNumberIsZero) {
  EXPECT_EQ(last_number(""), 0);
  EXPECT_EQ(last_number("no idea, sorry."), 0);
  EXPECT_TRUE(is_right(EvaluationTask::kMgsm, "0", "none"));
  EXPECT_FALSE(is_right(EvaluationTask::kMgsm, "7", ""));
}

TEST(Scoring, CommasBetweenDigitsAreDropped) {
  EXPECT_EQ(last_number("1,000"), 1000);
  EXPECT_EQ(last_number("1,234,567.25"), 1234567.25);
  EXPECT_EQ(last_number("1, 2"), 2);
  EXPECT_EQ(last_number("5,"), 5);
  EXPECT_EQ(last_number("1,2,3"), 3);           // becomes "12,3"
  EXPECT_EQ(last_number("1,2,3,4"), 34);        // becomes "12,34"
  EXPECT_EQ(last_number("1.000,50"), 1.00050);  // a German number is not understood
}

TEST(Scoring, SignsDoNotCount) {
  EXPECT_EQ(last_number("-5"), 5);
  EXPECT_TRUE(is_right(EvaluationTask::kMsvamp, "-5", "5"));
  EXPECT_TRUE(is_right(EvaluationTask::kMsvamp, "5.0", "= -5"));
}

TEST(Scoring, DigitsOfEveryScriptAreDigits) {
  EXPECT_EQ(last_number("উত্তর হল ১২"), 12);
  EXPECT_EQ(last_number("১,২৫০.৫ টাকা"), 1250.5);
  EXPECT_EQ(last_number("الجواب ٤٢"), 42);
  EXPECT_EQ(last_number("คำตอบคือ ๑๘"), 18);
  EXPECT_EQ(last_number("答えは１８個"), 18);
  EXPECT_EQ(last_number("1২3"), 123);   // mixed, as Python's float() takes it
  EXPECT_EQ(last_number("١٫٥"), 5);     // the Arabic decimal separator is no point
  EXPECT_EQ(last_number("十八"), 0);    // number words are not digits
  EXPECT_EQ(last_number("x² ½ Ⅷ"), 0);  // nor are superscripts, fractions, numerals
}

TEST(Scoring, MathIsRightWithinAThousandth) {
  EXPECT_TRUE(is_right(EvaluationTask::kMgsm, "18", "... The answer is: 18"));
  EXPECT_TRUE(is_right(EvaluationTask::kMgsm, "2125", "$2,125.00"));
  EXPECT_TRUE(is_right(EvaluationTask::kMsvamp, "8.0", "8"));
  EXPECT_TRUE(is_right(EvaluationTask::kMgsm, "0.3333", "0.3339"));
  EXPECT_FALSE(is_right(EvaluationTask::kMgsm, "0.333", "0.3341"));
  EXPECT_FALSE(is_right(EvaluationTask::kMgsm, "18", "18 apples cost 36"));
  const Score wrong = score(EvaluationTask::kMgsm, "18", "1,000 or 19");
  EXPECT_EQ(wrong.prediction, "19.0");
}

TEST(Scoring, NumbersTooLargeForADoubleAreNeverRight) {
  const std::string huge(400, '9');
  EXPECT_EQ(score(EvaluationTask::kMgsm, "9", huge).prediction, "inf");
  EXPECT_FALSE(is_right(EvaluationTask::kMgsm, "9", huge));
  EXPECT_FALSE(is_right(EvaluationTask::kMgsm, huge, huge));  // inf - inf
}

TEST(Scoring, LabelsMustBeTheStrippedOutput) {
  EXPECT_TRUE(is_right(EvaluationTask::kXCsqa, "B", " B\n"));
  EXPECT_TRUE(is_right(EvaluationTask::kXCsqa, "B", "\u3000B\u00A0\t\u2028"));
  EXPECT_TRUE(is_right(EvaluationTask::kXnli, "Neutral", "\r\nNeutral \x1F"));
  EXPECT_FALSE(is_right(EvaluationTask::kXCsqa, "B", "b"));
  EXPECT_FALSE(is_right(EvaluationTask::kXCsqa, "B", "B."));
  EXPECT_FALSE(is_right(EvaluationTask::kXCsqa, "B", "A B"));
  EXPECT_FALSE(is_right(EvaluationTask::kXCsqa, "B", "\u200BB"));  // a zero-width space is no white space
  EXPECT_FALSE(is_right(EvaluationTask::kXnli, "Neutral", ""));
  EXPECT_EQ(score(EvaluationTask::kXnli, "Neutral", " no idea \n").prediction, "no idea");
}

TEST(Scoring, EqualsPythonOnRandomTexts) {
  std::ifstream file(LAYALIGN_TEST_DATA "/evaluation/scoring_cases.jsonl");
  int cases = 0;
  for (std::string line; std::getline(file, line); ++cases) {
    const auto expected = nlohmann::json::parse(line);
    const auto text = expected.at("text").get<std::string>();
    EXPECT_EQ(python_float(last_number(text)), expected.at("number").get<std::string>()) << line;
    EXPECT_EQ(strip(text), expected.at("stripped").get<std::string>()) << line;
  }
  EXPECT_EQ(cases, 495);
}

}  // namespace
}  // namespace layalign::trainer
