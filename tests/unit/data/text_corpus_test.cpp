#include "data/text_corpus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <set>

#include "data/error.h"
#include "data/open_dataset.h"
#include "data/prompts.h"

namespace layalign::data {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class Corpora : public testing::Test {
 protected:
  Corpora() {
    std::string name = (fs::temp_directory_path() / "layalign-corpora-XXXXXX").string();
    root = mkdtemp(name.data());
  }
  ~Corpora() override { fs::remove_all(root); }

  fs::path write(const std::string& name, const std::string& text) const {
    fs::create_directories((root / name).parent_path());
    std::ofstream(root / name, std::ios::binary) << text;
    return root / name;
  }
  TextCorpus read(configs::CorpusConfig config, const std::string& path = "") const {
    return read_text_corpus(config, root, path.empty() ? root : root / path);
  }
  /// The message of the DataError that reading gives.
  std::string refusal(configs::CorpusConfig config, const std::string& path = "") const {
    try {
      read(config, path);
    } catch (const DataError& error) {
      return error.what();
    }
    return "no error";
  }
  std::string jsonl_refusal(const std::string& text) const {
    write("x.jsonl", text);
    return refusal({.format = "jsonl"}, "x.jsonl");
  }

  fs::path root;
};

const std::string kGood = "{\"source\": \"a\", \"target\": \"b\"}\n";

TEST_F(Corpora, BilingualPairsAreTranslations) {
  write("bilingual_pairs/en-bn/train_100k.bn", "eka\r\ndui\r\ntin\r\n");
  write("bilingual_pairs/en-bn/train_100k.en", "one\ntwo\nthree\n");
  const auto corpus = read({.format = "bilingual_pairs", .languages = {"Bengali"}, .train_num = 2});
  ASSERT_EQ(corpus.rows.size(), 2u);
  EXPECT_EQ(corpus.rows[1].source, "dui");
  EXPECT_EQ(corpus.rows[1].target, "two");
  EXPECT_EQ(corpus.prompt(corpus.rows[1]), translation_prompt("dui", "Bengali", "English"));
  EXPECT_THAT(corpus.origin(corpus.rows[1]), HasSubstr("train_100k.bn:2"));

  write("bilingual_pairs/en-bn/train_100k.en", "one\ntwo\n");
  const auto message = refusal({.format = "bilingual_pairs", .languages = {"Bengali"}});
  EXPECT_THAT(message, HasSubstr("3 lines"));
  EXPECT_THAT(message, HasSubstr("2:"));
}

TEST_F(Corpora, MetamathTakesTheFirstRowsOfEachLanguage) {
  write("query_translation/metamath_615k.json",
        "[\n{\"query\": \"q1\", \"response\": \"r1\", \"lang\": \"Thai\"},\n{\"query\": \"q2 }]\", \"response\": \"r2\", \"lang\": \"Swahili\"},\n"
        "{\"query\": \"q3\", \"response\": \"r3\", \"lang\": \"Thai\"}, {\"query\": \"q4\", \"response\": \"r4\", \"lang\": \"English\"}\n]\n");
  const auto corpus = read({.format = "metamath", .languages = {"Swahili", "Thai"}, .train_num = 1});
  ASSERT_EQ(corpus.rows.size(), 2u);
  EXPECT_EQ(corpus.rows[0].source, "q1");
  EXPECT_EQ(corpus.rows[1].source, "q2 }]");
  EXPECT_EQ(corpus.prompt(corpus.rows[0]), math_prompt("q1"));
  EXPECT_THAT(refusal({.format = "metamath", .languages = {"German"}}), HasSubstr("German"));
  EXPECT_EQ(read({.format = "metamath"}).rows.size(), 4u);
}

TEST_F(Corpora, ATruncatedArrayIsNamedWithItsLine) {
  const auto path = write("query_translation/metamath_615k.json", "[\n{\"query\": \"q\", \"response\": \"r\", \"lang\": \"Thai\"},\n{\"query\": \"q");
  EXPECT_THAT(refusal({.format = "metamath"}), HasSubstr(path.string() + ":3"));
}

TEST_F(Corpora, TextAfterTheArrayIsRefused) {
  write("query_translation/metamath_615k.json", "[{\"query\": \"q\", \"response\": \"r\", \"lang\": \"Thai\"}]\n]\n");
  EXPECT_THAT(refusal({.format = "metamath"}), HasSubstr("metamath_615k.json:2: text after the closing ']'"));
}

TEST_F(Corpora, AnArrayOnOneLineHasAGroupAndAnOriginARow) {
  std::string text = "[";
  for (int i = 1; i <= 4; ++i) {
    text += (i == 1 ? "" : ", ") + std::string("{\"query\": \"q\", \"response\": \"r\", \"lang\": \"Thai\"}");
  }
  write("query_translation/metamath_615k.json", text + "]");
  configs::StageConfig stage;
  stage.corpus = {.format = "metamath"};
  const auto dataset = open_dataset(stage, {.root = root.string()}, root, {});
  std::set<std::string> groups;
  for (int64_t i = 0; i < dataset->size(); ++i) groups.insert(dataset->group(i));
  EXPECT_EQ(groups.size(), 4u);
  const auto corpus = read({.format = "metamath"});
  EXPECT_THAT(corpus.origin(corpus.rows[2]), testing::EndsWith("metamath_615k.json:1 (item 3)"));
}

TEST_F(Corpora, ReadingStopsWhenEveryLanguageIsFull) {
  // What stands behind the last wanted row is not read: an array is 400 MB.
  write("query_translation/metamath_615k.json", "[{\"query\": \"q\", \"response\": \"r\", \"lang\": \"Thai\"}, broken");
  EXPECT_EQ(read({.format = "metamath", .languages = {"Thai"}, .train_num = 1}).rows.size(), 1u);
  EXPECT_THAT(refusal({.format = "metamath", .languages = {"Thai"}, .train_num = 2}), HasSubstr("expected a JSON object"));
}

TEST_F(Corpora, XCsqaReadsTheWholeQuestion) {
  write("query_translation/x-csqa/train_de.jsonl",
        "{\"question\": {\"stem\": \"Wo?\", \"choices\": [{\"label\": \"A\", \"text\": \"hier\"}, {\"label\": \"B\", \"text\": \"dort\"}]}, \"answerKey\": \"B\"}\n");
  const auto corpus = read({.format = "x_csqa", .languages = {"German"}});
  ASSERT_EQ(corpus.rows.size(), 1u);
  EXPECT_EQ(corpus.rows[0].source, "Wo?\nOptions:A. hier\tB. dort\nAnswer:");
  EXPECT_EQ(corpus.prompt(corpus.rows[0]), corpus.rows[0].source);
  EXPECT_EQ(corpus.rows[0].target, "B");
}

TEST_F(Corpora, XnliLabelsAreText) {
  write("query_translation/xnli_dev.json",
        "[{\"sentence1\": \"p\", \"sentence2\": \"h\", \"label\": 2, \"language\": \"Greek\"}, {\"sentence1\": \"p\", \"sentence2\": \"h\", \"label\": \"neutral\", \"language\": \"Greek\"}]");
  const auto corpus = read({.format = "xnli"});
  EXPECT_EQ(corpus.rows[0].source, "Premise: p\nHypothesis: h\nLabel:");
  EXPECT_EQ(corpus.rows[0].target, "2");
  EXPECT_EQ(corpus.rows[1].target, "neutral");
}

TEST_F(Corpora, MsvampAnswersAndTranslatesAndGroupsByProblem) {
  write("m/test_Thai.jsonl", "{\"m_query\": \"t1\", \"query\": \"e1\", \"response\": \"8.0\", \"equation\": \"\"}\n{\"m_query\": \"t2\", \"query\": \"e2\", \"response\": \"1.0\", \"equation\": \"\"}\n");
  write("m/test_English.jsonl", "{\"m_query\": \"e1\", \"response\": \"8.0\", \"equation\": \"\"}\n{\"m_query\": \"e2\", \"response\": \"1.0\", \"equation\": \"\"}\n");
  const auto answers = read({.format = "msvamp", .languages = {"Thai", "English"}}, "m");
  ASSERT_EQ(answers.rows.size(), 4u);
  EXPECT_EQ(answers.rows[0].target, "8.0");
  EXPECT_EQ(answers.prompt(answers.rows[0]), math_prompt("t1"));
  EXPECT_EQ(answers.rows[1].group, answers.rows[3].group);
  EXPECT_NE(answers.rows[0].group, answers.rows[1].group);
  const auto pairs = read({.format = "msvamp", .languages = {"Thai", "English"}, .task = "translation"}, "m");
  EXPECT_EQ(pairs.rows[0].target, "e1");
  EXPECT_EQ(pairs.rows[2].target, "e1");
  EXPECT_EQ(pairs.prompt(pairs.rows[0]), translation_prompt("t1", "Thai", "English"));
}

TEST_F(Corpora, JsonlTakesWhatAUserBrings) {
  write("x.jsonl", kGood + "\n{\"source\": \"c\", \"target\": \"d\", \"prompt\": \"p\", \"language\": \"Klingon\", \"group\": \"g\", \"more\": 1}\n");
  const auto corpus = read({.format = "jsonl"}, "x.jsonl");
  ASSERT_EQ(corpus.rows.size(), 2u);
  EXPECT_EQ(corpus.prompt(corpus.rows[0]), "a");
  EXPECT_EQ(corpus.prompt(corpus.rows[1]), "p");
  EXPECT_EQ(corpus.languages, (std::vector<std::string>{"unknown", "Klingon"}));
  EXPECT_EQ(corpus.rows[1].line, 3);
}

TEST_F(Corpora, BrokenLinesAreNamed) {
  const std::string place = (root / "x.jsonl").string() + ":2";
  for (const auto& [line, what] : std::vector<std::pair<std::string, std::string>>{
           {"{\"source\": \"a\"", ""},
           {"{\"source\": \"a\"}", "'target' is missing"},
           {"{\"source\": 3, \"target\": \"b\"}", "'source' must be a string"},
           {"[1]", "expected a JSON object"},
           {"{\"source\": \"\xff\", \"target\": \"b\"}", "not UTF-8"},
           {std::string("{\"source\": \"\0\", \"target\": \"b\"}", 30), "NUL"},
           {"{\"source\": \"a\", \"source\": \"a\", \"target\": \"b\"}", "source"}}) {
    const auto message = jsonl_refusal(kGood + line + "\n");
    EXPECT_THAT(message, HasSubstr(place)) << line;
    EXPECT_THAT(message, HasSubstr(what)) << line;
  }
  EXPECT_THAT(jsonl_refusal("\xEF\xBB\xBF" + kGood), HasSubstr(":1: the file begins with a byte order mark"));
  EXPECT_THAT(jsonl_refusal(""), HasSubstr("empty"));
  EXPECT_THAT(refusal({.format = "jsonl"}, "none.jsonl"), HasSubstr("none.jsonl"));
}

TEST_F(Corpora, TokenIdsAreCheckedAndTakenAsGiven) {
  const auto open = [&](const std::string& text, configs::StageConfig stage = {}) {
    const auto path = write("ids.jsonl", text);
    stage.corpus = {.format = "token_ids", .path = path.string()};
    return open_dataset(stage, {}, root, {nullptr, nullptr, 100, 50, 2});
  };
  const auto refused = [&](const std::string& text, configs::StageConfig stage = {}) {
    try {
      open(text, stage);
    } catch (const DataError& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  const std::string line = "{\"source\": [99, 1], \"prompt\": [7], \"target\": [49, 2]}\n";
  configs::StageConfig with_prompt;
  with_prompt.prompt = true;
  EXPECT_EQ(open(line)->get(0).prompt, std::vector<int64_t>{});
  EXPECT_EQ(open(line, with_prompt)->get(0).prompt, std::vector<int64_t>{7});
  EXPECT_EQ(open(line)->get(0).target, (std::vector<int64_t>{49, 2}));
  EXPECT_THAT(refused(line + "{\"source\": [100], \"target\": [2]}\n"), HasSubstr("ids.jsonl:2: field 'source' holds 100"));
  EXPECT_THAT(refused("{\"source\": [1], \"target\": [50]}\n"), HasSubstr("0..49"));
  EXPECT_THAT(refused("{\"source\": [-1], \"target\": [2]}\n"), HasSubstr("holds -1"));
  EXPECT_THAT(refused("{\"source\": [1.5], \"target\": [2]}\n"), HasSubstr("1.5"));
  EXPECT_THAT(refused("{\"source\": [], \"target\": [2]}\n"), HasSubstr("'source' is empty"));
  EXPECT_THAT(refused("{\"source\": [1], \"target\": []}\n"), HasSubstr("'target' is empty"));
  EXPECT_THAT(refused("{\"source\": [1]}\n"), HasSubstr("'target' is missing"));
  EXPECT_THAT(refused(""), HasSubstr("empty"));
  configs::StageConfig short_stage;
  short_stage.max_source_tokens = 1;
  EXPECT_THAT(refused(line, short_stage), HasSubstr("limit of 1"));
}

TEST_F(Corpora, AMissingFileIsNamedWithEveryPlaceTried) {
  configs::StageConfig stage;
  stage.corpus = {.format = "token_ids", .path = "ids.jsonl"};
  fs::create_directories(root / "data");
  try {
    open_dataset(stage, {(root / "data").string()}, root / "configs", {});
    FAIL();
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr((root / "data/ids.jsonl").string()));
    EXPECT_THAT(error.what(), HasSubstr((root / "configs/ids.jsonl").string()));
  }
}

TEST(Prompts, AreTheStringsOfThePaper) {
  EXPECT_EQ(math_prompt("Q"),
            "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
            "### Instruction:\nQ\n\n### Response: Let's think step by step.");
  EXPECT_EQ(translation_prompt("Q", "Thai", "English"),
            "Below is an instruction that describes a task, paired with an input that provides further context. Write a response "
            "that appropriately completes the request.\n### Instruction:\nTranslate the following sentences from Thai to "
            "English.\n### Input:\nQ\n### Response:");
}

/// What a handler is told of, message by message.
class Told {
 public:
  ProblemHandler handler() {
    return [this](const fs::path&, const DataError& error) { messages.emplace_back(error.what()); };
  }
  std::vector<std::string> messages;
};

TEST_F(Corpora, AHandlerIsToldOfEveryProblem) {
  write("x.jsonl",
        kGood + "{\"source\": \"a\"}\n" + kGood + "not JSON\n\xff\n{\"source\": 3, \"target\": \"b\"}\n" + kGood);
  Told told;
  int64_t rows = 0;
  visit_text_corpus(
      {.format = "jsonl"}, root, root / "x.jsonl", [&](const TextCorpus&, TextRow) { ++rows; }, told.handler());
  EXPECT_EQ(rows, 3);
  EXPECT_THAT(told.messages,
              testing::ElementsAre(HasSubstr("x.jsonl:2: field 'target'"), HasSubstr("x.jsonl:4"),
                                   HasSubstr("x.jsonl:5: not UTF-8"), HasSubstr("x.jsonl:6: field 'source'")));
}

TEST_F(Corpora, PairsStayPairsWhereALineIsBroken) {
  write("bilingual_pairs/en-bn/train_100k.bn", "eka\n\xff\ntin\n");
  write("bilingual_pairs/en-bn/train_100k.en", "one\ntwo\nthree\n");
  write("bilingual_pairs/en-th/train_100k.en", "one\n");  // the other side is missing
  Told told;
  std::vector<std::string> pairs;
  const auto keep = [&](const TextCorpus&, const TextRow& row) { pairs.push_back(row.source + " " + row.target); };
  visit_text_corpus({.format = "bilingual_pairs", .languages = {"Bengali", "Thai"}}, root, root, keep, told.handler());
  EXPECT_THAT(pairs, testing::ElementsAre("eka one", "tin three"));
  EXPECT_THAT(told.messages,
              testing::ElementsAre(HasSubstr("train_100k.bn:2"), HasSubstr("train_100k.th: No such file"),
                                   HasSubstr("no row in the language Thai")));
}

// Files are read in blocks of 256 KiB: lines and objects of all lengths around them, with escapes at their ends.
TEST_F(Corpora, RecordsMayLieAcrossBlocks) {
  std::string lines, array;
  std::vector<std::string> texts;
  for (int i = 0; i < 700; ++i) {
    texts.push_back(std::string(1021 + i % 7, 'a') + "\\\"}]");
    const std::string text = std::string(1021 + i % 7, 'a') + "\\\\\\\"}]";
    const std::string row = "{\"source\": \"" + text + "\", \"target\": \"t\"}";
    lines += row + "\n";
    array += (i ? ",\n" : "[") + ("{\"query\": \"" + text + "\", \"response\": \"t\", \"lang\": \"Thai\"}");
  }
  write("x.jsonl", lines);
  write("query_translation/metamath_615k.json", array + "\n]");
  for (const auto& corpus : {read({.format = "jsonl"}, "x.jsonl"), read({.format = "metamath"})}) {
    ASSERT_EQ(corpus.rows.size(), texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      ASSERT_EQ(corpus.rows[i].source, texts[i]);
      ASSERT_EQ(corpus.rows[i].line, static_cast<int64_t>(i) + 1);
    }
  }
  write("query_translation/metamath_615k.json", array);
  EXPECT_THAT(refusal({.format = "metamath"}), HasSubstr("metamath_615k.json:700: expected ',' or ']'"));
}

TEST_F(Corpora, ARecordWithoutEndIsRefused) {
  const std::string much(kLongestRecordBytes + (size_t{1} << 20), 'a');
  EXPECT_THAT(jsonl_refusal(kGood + much), HasSubstr("x.jsonl:2: a line of more than 64 MiB"));
  write("query_translation/metamath_615k.json", "[{\"query\": \"" + much);
  EXPECT_THAT(refusal({.format = "metamath"}), HasSubstr("metamath_615k.json:1: an object of more than 64 MiB"));
}

}  // namespace
}  // namespace layalign::data
