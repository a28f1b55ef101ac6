#include "data/evaluation_task.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/error.h"
#include "data/prompts.h"
#include "tests/unit/data/temporary_folder.h"

namespace layalign::data {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

const fs::path kPublic = LAYALIGN_TEST_DATA;

std::vector<std::string> languages_of(const std::vector<EvaluationItem>& items) {
  std::vector<std::string> languages;
  for (const auto& item : items) {
    if (languages.empty() || languages.back() != item.language) languages.push_back(item.language);
  }
  return languages;
}

/// A data root of a test's own.
class Benchmarks : public testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& bytes) const {
    const fs::path path = folder.path() / "evaluation" / name;
    fs::create_directories(path.parent_path());
    return folder.write("evaluation/" + name, bytes).string();
  }
  std::vector<EvaluationItem> read(EvaluationTask task, std::vector<std::string> languages = {},
                                   std::optional<int64_t> limit = {}) const {
    return read_evaluation(task, folder.path(), languages, limit);
  }
  std::string refusal(EvaluationTask task, std::vector<std::string> languages = {}) const {
    try {
      read(task, languages);
    } catch (const DataError& error) {
      return error.what();
    }
    return "no error";
  }

  TemporaryFolder folder;
};

TEST(EvaluationTasks, HaveNamesBothWays) {
  for (const auto task :
       {EvaluationTask::kMgsm, EvaluationTask::kMsvamp, EvaluationTask::kXCsqa, EvaluationTask::kXnli}) {
    EXPECT_EQ(evaluation_task_named(name_of(task)), task);
  }
  EXPECT_EQ(name_of(EvaluationTask::kXCsqa), "x_csqa");
  EXPECT_EQ(evaluation_task_named("gsm8k"), std::nullopt);
  EXPECT_TRUE(is_math(EvaluationTask::kMsvamp));
  EXPECT_FALSE(is_math(EvaluationTask::kXnli));
}

TEST(EvaluationTasks, MgsmOfThePublicLayout) {
  const auto items = read_evaluation(EvaluationTask::kMgsm, kPublic, {});
  EXPECT_EQ(languages_of(items), (std::vector<std::string>{"English", "Bengali", "German", "Thai"}));
  ASSERT_EQ(items.size(), 20u);
  EXPECT_EQ(items[0].answer, "18");
  EXPECT_THAT(items[0].source, testing::StartsWith("Janet’s ducks lay 16 eggs per day."));
  EXPECT_EQ(items[0].prompt, math_prompt(items[0].source));
  EXPECT_EQ(items[4].answer, "2125");  // written 2,125
  EXPECT_EQ(items[7].language, "Bengali");
  EXPECT_EQ(items[7].index, 2);
  EXPECT_EQ(items[7].origin, (kPublic / "evaluation/mgsm/mgsm_bn.tsv").string() + ":3");
}

TEST(EvaluationTasks, ListedLanguagesComeInTheirOrderUpToTheLimit) {
  const auto items = read_evaluation(EvaluationTask::kMsvamp, kPublic, {"Thai", "Bengali"}, 3);
  EXPECT_EQ(languages_of(items), (std::vector<std::string>{"Thai", "Bengali"}));
  ASSERT_EQ(items.size(), 6u);
  EXPECT_EQ(items[5].index, 2);
  EXPECT_EQ(items[0].answer, "8.0");
  EXPECT_THAT(items[0].source, testing::StartsWith("จูเลีย"));
  EXPECT_EQ(items[0].prompt, math_prompt(items[0].source));
}

TEST(EvaluationTasks, XCsqaGivesTheWholePromptToBothModels) {
  const auto items = read_evaluation(EvaluationTask::kXCsqa, kPublic, {});
  EXPECT_EQ(languages_of(items), (std::vector<std::string>{"English", "Swahili"}));
  EXPECT_EQ(items[0].prompt,
            "Where would you keep milk cold?\nOptions:A. oven\tB. fridge\tC. shelf\tD. garden\tE. pocket\nAnswer:");
  EXPECT_EQ(items[0].source, items[0].prompt);
  EXPECT_EQ(items[0].answer, "B");
}

TEST(EvaluationTasks, XnliIsOneFileForAllLanguages) {
  EXPECT_EQ(languages_of(read_evaluation(EvaluationTask::kXnli, kPublic, {})),
            (std::vector<std::string>{"English", "Swahili", "Thai"}));
  const auto items = read_evaluation(EvaluationTask::kXnli, kPublic, {"Swahili", "English"}, 2);
  EXPECT_EQ(languages_of(items), (std::vector<std::string>{"Swahili", "English"}));
  ASSERT_EQ(items.size(), 4u);
  EXPECT_EQ(items[1].prompt, "Premise: Mwanamume anapika supu.\nHypothesis: Mwanamume anapenda supu.\nLabel:");
  EXPECT_EQ(items[1].source, items[1].prompt);
  EXPECT_EQ(items[1].answer, "Neutral");
  EXPECT_THAT(items[1].origin, testing::EndsWith("test.json:26 (item 5)"));
}

TEST_F(Benchmarks, LineEndsBlankLinesAndFurtherColumnsDoNoHarm) {
  write("mgsm/mgsm_fr.tsv", "un ?\t1,000\r\n\r\ndeux ?\t 18.0 \textra\r\ntrois ?\t-3\r\n\r\n");
  write("msvamp/test_French.jsonl", "{\"m_query\": \"un ?\", \"response\": \"1,000.50\"}\r\n\r\n");
  const auto items = read(EvaluationTask::kMgsm);
  ASSERT_EQ(items.size(), 3u);
  EXPECT_EQ(items[0].answer, "1000");
  EXPECT_EQ(items[1].answer, "18.0");
  EXPECT_EQ(items[1].index, 1);
  EXPECT_THAT(items[1].origin, HasSubstr("mgsm_fr.tsv:3"));
  EXPECT_EQ(items[2].answer, "-3");
  EXPECT_EQ(read(EvaluationTask::kMsvamp)[0].answer, "1000.50");
}

TEST_F(Benchmarks, BrokenLinesAreNamed) {
  for (const auto& [line, what] :
       std::vector<std::pair<std::string, std::string>>{{"question 5", "there is no TAB"},
                                                        {"\t5", "no question before the TAB"},
                                                        {"question\t", "'' is not a number"},
                                                        {"question\tfive", "'five' is not a number"},
                                                        {"question\t5.", "not a number"},
                                                        {"question\t.5", "not a number"},
                                                        {"question\t1.2.3", "not a number"},
                                                        {"question\t-", "not a number"},
                                                        {"question\t5 apples", "not a number"},
                                                        {"\xff\t5", "not UTF-8"}}) {
    const auto path = write("mgsm/mgsm_de.tsv", "gut\t1\n" + line + "\n");
    EXPECT_THAT(refusal(EvaluationTask::kMgsm), AllOf(HasSubstr(path + ":2"), HasSubstr(what))) << line;
  }
  const auto json =
      write("msvamp/test_German.jsonl", "{\"m_query\": \"a\", \"response\": \"1.0\"}\n{\"m_query\": \"a\"}\n");
  EXPECT_THAT(refusal(EvaluationTask::kMsvamp), AllOf(HasSubstr(json + ":2"), HasSubstr("'response' is missing")));
  const auto question = write("x-csqa/de/dev.jsonl", "{\"question\": {\"stem\": \"a\"}, \"answerKey\": \"A\"}\n");
  EXPECT_THAT(refusal(EvaluationTask::kXCsqa), AllOf(HasSubstr(question + ":1"), HasSubstr("question.choices")));
  const auto pairs = write("xnli/test.json", "[\n{\"sentence1\": \"a\", \"label\": \"x\", \"language\": \"Thai\"}]");
  EXPECT_THAT(refusal(EvaluationTask::kXnli),
              AllOf(HasSubstr(pairs + ":2 (item 1)"), HasSubstr("'sentence2' is missing")));
}

TEST_F(Benchmarks, ALanguageWithoutQuestionsIsNamedWithItsPath) {
  const auto german = write("mgsm/mgsm_de.tsv", "gut\t1\n");
  const std::string thai = (folder.path() / "evaluation/mgsm/mgsm_th.tsv").string();
  EXPECT_THAT(refusal(EvaluationTask::kMgsm, {"German", "Thai"}), AllOf(HasSubstr(thai), HasSubstr("has no Thai")));
  EXPECT_THAT(refusal(EvaluationTask::kMgsm, {"Klingon"}), HasSubstr("'Klingon' is not a language"));
  EXPECT_THAT(refusal(EvaluationTask::kMgsm, {"German", "German"}), HasSubstr("German is listed twice"));
  EXPECT_THAT(refusal(EvaluationTask::kMsvamp), HasSubstr((folder.path() / "evaluation/msvamp").string()));
  EXPECT_THAT(refusal(EvaluationTask::kXnli), HasSubstr((folder.path() / "evaluation/xnli/test.json").string()));
  write("mgsm/mgsm_de.tsv", "\n");
  EXPECT_THAT(refusal(EvaluationTask::kMgsm), AllOf(HasSubstr(german), HasSubstr("no question in German")));
  const auto pairs = write("xnli/test.json", "[]");
  EXPECT_THAT(refusal(EvaluationTask::kXnli), AllOf(HasSubstr(pairs), HasSubstr("holds no questions")));
  EXPECT_THAT(refusal(EvaluationTask::kXnli, {"Greek"}), AllOf(HasSubstr(pairs), HasSubstr("no question in Greek")));
}

}  // namespace
}  // namespace layalign::data
