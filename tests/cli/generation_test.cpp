// layalign-eval writes ids and text, as a user runs it.
#include <algorithm>

#include "tests/cli/conversation.h"
#include "tests/cli/evaluation_run.h"
#include "tests/cli/golden_input.h"

namespace layalign::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

struct GoldenCase {
  std::string golden, encoder, llm;
  int ranks, tensor;
};

void PrintTo(const GoldenCase& c, std::ostream* out) {
  *out << c.golden << " on " << c.ranks << " ranks, tensor " << c.tensor;
}

class GoldenIds : public testing::TestWithParam<GoldenCase> {};

TEST_P(GoldenIds, AreThoseOfTheReference) {
  const auto& param = GetParam();
  const WorkFolder folder;
  const GoldenInput golden(folder, param.golden, param.encoder, (kGolden / "models" / param.llm).string(),
                           param.tensor);
  const auto outcome =
      evaluate(param.ranks, golden.arguments + " --input " + golden.input + " --output " + folder.path("out").string());
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  const auto ids = written_ids(folder.path("out"));
  ASSERT_EQ(ids.size(), golden.samples.size());
  for (size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(ids[i], golden.ids(i)) << i;
}

INSTANTIATE_TEST_SUITE_P(Program, GoldenIds,
                         testing::Values(GoldenCase{"mt5-qwen2-stage2-Linear", "mt5", "qwen2", 4, 2},
                                         GoldenCase{"mt5-qwen2-stage2-Linear", "mt5", "qwen2", 2, 2},
                                         GoldenCase{"mt5-qwen2-tied-stage2-mindmerger", "mt5", "qwen2-tied", 1, 1},
                                         GoldenCase{"mt5-qwen2-tied-stage2-mindmerger", "mt5", "qwen2-tied", 2, 2},
                                         GoldenCase{"nllb-llama-gqa-stage2-MLP", "nllb", "llama-gqa", 2, 1},
                                         GoldenCase{"xlmr-mistral-stage1-Linear", "xlmr", "mistral", 1, 1}));

TEST(TokenIds, EndAtAnyEosOfAList) {
  const WorkFolder folder;
  const auto llm = folder.copy_model("qwen2");
  constexpr int64_t kOther = 1446;  // in the middle of most golden ids
  replace_in_file(llm / "config.json", "\"eos_token_id\": 2", "\"eos_token_id\": [2, " + std::to_string(kOther) + "]");
  fs::remove(llm / "generation_config.json");
  const GoldenInput golden(folder, "mt5-qwen2-stage2-Linear", "mt5", llm.string(), 1);
  const auto outcome =
      evaluate(1, golden.arguments + " --input " + golden.input + " --output " + folder.path("out").string());
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  const auto ids = written_ids(folder.path("out"));
  int ended = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    auto expected = golden.ids(i);
    if (const auto end = std::ranges::find(expected, kOther); end != expected.end()) {
      expected.erase(end + 1, expected.end());
      ++ended;
    }
    EXPECT_EQ(ids[i], expected) << i;
  }
  EXPECT_GT(ended, 1);
}

TEST(TokenIds, AreCheckedAgainstWhatTheModelsRead) {
  const WorkFolder folder;
  const auto llm = folder.copy_model("mistral");
  replace_in_file(llm / "config.json", "\"sliding_window\": null", "\"sliding_window\": 40");
  const auto line = [](size_t source, size_t prompt) {
    return json{{"source", std::vector<int>(source, 7)}, {"prompt", std::vector<int>(prompt, 8)}}.dump() + "\n";
  };
  const GoldenInput window(folder, "xlmr-mistral-stage1-Linear", "xlmr", llm.string(), 1);
  const auto refused = [&](const std::string& lines) {
    const auto input = folder.write("lines.jsonl", lines).string();
    return evaluate(1, window.arguments + " --input " + input + " --output " + folder.path("out").string());
  };
  // 1 bos + 10 + 1 boundary + 12 + 16 new ones are 40.
  EXPECT_EQ(refused(line(10, 12)).code, 0);
  const auto one_more = refused(line(10, 12) + line(10, 13));
  EXPECT_EQ(one_more.code, 65);
  for (const char* part : {"lines.jsonl:2", "sliding_window", "shorten the line or lower --max-new-tokens"}) {
    EXPECT_THAT(one_more.output, HasSubstr(part));
  }
  const auto source = refused(line(300, 0));
  EXPECT_EQ(source.code, 65);
  EXPECT_THAT(source.output, HasSubstr("reads sources of at most 256 tokens"));
}

/// The answers to lines, one after the other.
std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0, end; (end = text.find('\n', begin)) != text.npos; begin = end + 1) {
    lines.push_back(text.substr(begin, end - begin));
  }
  return lines;
}

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = text.find(from, at)) != text.npos; at += to.size()) text.replace(at, from.size(), to);
}

const std::string kText = "--task text --languages English --max-new-tokens 5 ";

TEST_F(Evaluation, AnswersLinesOfTextInTheirOrder) {
  const auto lines = work->write("lines.txt", "Tom has 3 apples.\nวันนี้\n\nHow many?\n").string();
  const auto from_file = run(kText + "--input " + lines);
  ASSERT_EQ(from_file.code, 0) << from_file.output;
  const auto answers = lines_of(from_file.output);
  ASSERT_EQ(answers.size(), 4u) << from_file.output;
  EXPECT_EQ(answers[2], "");
  EXPECT_NE(answers[3], "");
  EXPECT_EQ(run(kText, 2, "<" + lines).output, from_file.output);
}

TEST_F(Evaluation, ABlankLineAsksNothingOfAnEncoderWithoutSpecialTokens) {
  // No end token: an empty text has no tokens at all.
  const auto encoder = work->copy_model("llama");
  const auto lines = work->write("blank.txt", "\n  \nHow many?\n").string();
  const auto outcome = run(kText + "--compare llm --set model.encoder=" + encoder.string() + " --input " + lines);
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  const auto answers = lines_of(outcome.output);
  ASSERT_EQ(answers.size(), 3u);
  EXPECT_EQ(answers[0] + answers[1], "");
}

TEST_F(Evaluation, AnswersALineOfAPipeBeforeTheNextOneComes) {
  // Each line draws by its number, so the same words get different answers, and the same ones however they come.
  const std::string arguments = kText + "--temperature 1 --seed 5 ", line = "Tom has 3 apples.\n";
  const auto whole = run(arguments + "--input " + work->write("same.txt", line + line + line).string());
  const auto expected = lines_of(whole.output);
  ASSERT_EQ(expected.size(), 3u) << whole.output;
  EXPECT_FALSE(expected[0] == expected[1] && expected[1] == expected[2]) << whole.output;
  for (int ranks : {1, 2}) {
    Conversation talk(Conversation::Through::kPipe, ranks, config_path + " " + arguments);
    for (int i = 0; i < 3; ++i) {
      talk.say(line);
      EXPECT_EQ(talk.hear("\n"), expected[i] + "\n") << ranks;
    }
    const auto end = talk.finish();
    EXPECT_EQ(end.code, 0) << end.output;
    EXPECT_EQ(end.output, "");
  }
}

TEST_F(Evaluation, TalksWithAPersonAtATerminal) {
  auto expected =
      lines_of(run(kText + "--input " + work->write("one.txt", "Tom has 3 apples.\n").string()).output).at(0);
  replace_all(expected, "\\n", "\r\n");  // a person sees lines; a terminal ends them so
  for (int ranks : {1, 2}) {
    Conversation talk(Conversation::Through::kTerminal, ranks, config_path + " " + kText);
    talk.hear("> ");
    talk.say("Tom has 3 apples.\n");
    EXPECT_THAT(talk.hear("> "), HasSubstr(expected)) << ranks;
    talk.say("\n");
    talk.hear("> ");
    talk.say("Tom has 3 apples.\n");
    EXPECT_THAT(talk.hear("> "), HasSubstr(expected)) << ranks;
    EXPECT_EQ(talk.finish().code, 0) << ranks;
  }
}

TEST_F(Evaluation, ALineThatIsNoTextIsNamed) {
  const auto lines = work->write("bytes.txt", "How many?\n\xff\xfe\n").string();
  const auto piped = run(kText, 1, "<" + lines);
  EXPECT_EQ(piped.code, 65);
  EXPECT_THAT(piped.output, HasSubstr("standard input:2: not UTF-8"));
  const auto from_file = run(kText + "--input " + lines);
  EXPECT_EQ(from_file.code, 65);
  EXPECT_THAT(from_file.output, HasSubstr("bytes.txt:2"));
}

}  // namespace
}  // namespace layalign::test
