// layalign-train --check-data: what it says of good, missing, broken and cut-off data.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cli/program.h"

namespace layalign::test {
namespace {

using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;

const std::string kMsvamp = LAYALIGN_SOURCE_DIR "/tests/miniature/data/msvamp";

class CheckData : public testing::Test {
 protected:
  /// Writes a file under the data root.
  void data(const std::string& name, const std::string& text) const {
    fs::create_directories((folder.path("datas") / name).parent_path());
    folder.write("datas/" + name, text);
  }
  /// Checks a config with one stage over `corpus`.
  Outcome check(const std::string& corpus, const std::string& more = "", int ranks = 1,
                const std::string& encoder = LAYALIGN_SOURCE_DIR "/tests/miniature/models/encoder") {
    const auto path = folder.write(
        "run.yaml", "output: " + folder.path("out").string() + "\nmodel: {encoder: " + encoder +
                        ", llm: " LAYALIGN_SOURCE_DIR
                        "/tests/miniature/models/llm}\nparallel: {device: cpu, threads: 1}\ndata: {root: datas}\n"
                        "stages:\n  - {name: only, prompt: true, corpus: " +
                        corpus + "}\n" + more);
    auto outcome = train(ranks, path.string() + " --check-data");
    EXPECT_FALSE(fs::exists(folder.path("out")));
    return outcome;
  }
  void expect_texts(const Outcome& outcome, int code, const std::vector<std::string>& texts) {
    EXPECT_EQ(outcome.code, code) << outcome.output;
    for (const auto& text : texts) EXPECT_THAT(outcome.output, HasSubstr(text));
  }

  WorkFolder folder;
};

TEST_F(CheckData, TellsWhatGoodDataAre) {
  const auto outcome = check("{format: msvamp, path: " + kMsvamp + ", languages: [Thai, Swahili]}", "", 2);
  expect_texts(outcome, 0,
               {"stage 1/1 only: msvamp", "msvamp/test_Thai.jsonl", "Swahili                     1,000        1,000",
                "2,000: 1,800 training samples, 200 held out", "LLM, prompt", "1 data set: 0 broken"});
  const auto at = outcome.output.find("stage 1/1");
  EXPECT_EQ(outcome.output.find("stage 1/1", at + 1), std::string::npos) << "only one rank prints";
}

TEST_F(CheckData, TestQuestionsInTheCorpusAreAWarning) {
  data("evaluation/msvamp/test_Thai.jsonl", read_file(kMsvamp + "/test_Thai.jsonl"));
  expect_texts(check("{format: msvamp, path: " + kMsvamp + ", languages: [Thai]}", "eval: {tasks: [msvamp]}\n"), 0,
               {"benchmark msvamp", "1,000 x sample with a question of a benchmark: ", "test_Thai.jsonl:1 is "});
}

TEST_F(CheckData, AllThatIsMissingIsNamed) {
  data("bilingual_pairs/en-bn/train_100k.bn", "eka\n");
  const auto outcome = check("{format: bilingual_pairs, languages: [Bengali, Thai]}",
                             "eval: {tasks: [mgsm, x_csqa], languages: [German]}\n");
  expect_texts(outcome, 65,
               {"en-bn/train_100k.en: No such file", "en-th/train_100k.th: No such file",
                "en-th/train_100k.en: No such file", "mgsm_de.tsv: no such file", "x-csqa/de/dev.jsonl: no such file"});
  expect_texts(check("{format: jsonl, path: nowhere.jsonl}"), 65, {"no such file", "nowhere.jsonl"});
}

TEST_F(CheckData, AllBrokenLinesAreNamedUpToALimit) {
  std::string lines;
  for (int i = 0; i < 30; ++i)
    lines += "{\"source\": \"a\"}\n{\"source\": \"a\", \"target\": \"" + std::to_string(i) + "\"}\n";
  data("x.jsonl", lines);
  data("evaluation/mgsm/mgsm_de.tsv", "Frage\t1\nkein Tabulator\nFrage\tkeine Zahl");
  const auto outcome = check("{format: jsonl, path: x.jsonl}", "eval: {tasks: [mgsm]}\n");
  expect_texts(outcome, 65,
               {"x.jsonl:1: field 'target' is missing", "x.jsonl:39: field", "x.jsonl: and 10 more", "mgsm_de.tsv:2",
                "mgsm_de.tsv:3", "unknown                        30", "mgsm_de.tsv: no line end at its end",
                "run.yaml: its data are broken at 32 places"});
  EXPECT_THAT(outcome.output, Not(HasSubstr("x.jsonl:41:")));
}

TEST_F(CheckData, AnEmptyCorpusIsBroken) {
  data("x.jsonl", "");
  for (const char* format : {"token_ids", "jsonl"}) {
    expect_texts(check("{format: " + std::string(format) + ", path: x.jsonl}"), 65,
                 {"x.jsonl: the corpus is empty", "1 data set: 1 broken"});
  }
}

TEST_F(CheckData, ACutOffArrayIsBroken) {
  data("query_translation/metamath_615k.json",
       "[{\"query\": \"q\", \"response\": \"r\", \"lang\": \"Thai\"},\n {\"query\": \"q");
  expect_texts(
      check("{format: metamath, languages: [Thai], train_num: 3}"), 65,
      {"metamath_615k.json:2: the file ends inside this object", "1 samples a language, not the 3 of corpus.train_num: Thai"});
}

TEST_F(CheckData, LanguagesThatTheEncoderLacksAreNamed) {
  data("x.jsonl",
       "{\"source\": \"a\", \"target\": \"b\", \"language\": \"Klingon\"}\n{\"source\": \"a\", \"target\": \"b\", "
       "\"language\": \"Thai\"}\n");
  const auto outcome = check("{format: jsonl, path: x.jsonl}", "", 1, LAYALIGN_TEST_DATA "/golden/models/nllb");
  expect_texts(outcome, 65, {"unknown language: Klingon at ", "broken      ", "x.jsonl:1: "});
}

TEST_F(CheckData, DataAreCheckedWithoutModelsToo) {
  data("x.jsonl", "{\"source\": \"a\", \"target\": \"b\"}\n{\n");
  expect_texts(check("{format: jsonl, path: x.jsonl}", "", 1, "nowhere"), 65,
               {"nowhere", "no tokens are counted", "x.jsonl:2"});
}

}  // namespace
}  // namespace layalign::test
