#include "trainer/evaluation_outputs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <tuple>

#include "configs/error.h"
#include "tests/unit/trainer/scratch_folder.h"
#include "trainer/error.h"

namespace layalign::trainer {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

const json kIdentity{{"encoder", "1f2e"}, {"llm", "3d4c"}, {"max_new_tokens", 512}};
const OutputKey kFirst{"mgsm", "layalign", "Bengali", 0, "a1"};
const OutputKey kSecond{"mgsm", "layalign", "Bengali", 1, "b2"};
const GeneratedOutput kText{"উত্তর: \"18\"\nDone.\t", 7, 0.25};

class Outputs : public testing::Test {
 protected:
  /// What opening the file refuses with: its message, and whether it is the caller's fault.
  std::pair<std::string, bool> refusal(const json& identity = kIdentity) const {
    try {
      EvaluationOutputs outputs(path, identity);
    } catch (const configs::ConfigError& error) {
      return {error.what(), true};
    } catch (const IoError& error) {
      return {error.what(), false};
    }
    return {"no error", false};
  }

  ScratchFolder folder;
  std::filesystem::path path = folder / "outputs.jsonl";
};

TEST_F(Outputs, AreThereAgainWhenTheFileIsOpenedAgain) {
  {
    EvaluationOutputs outputs(path, kIdentity);
    EXPECT_EQ(outputs.size(), 0);
    EXPECT_EQ(outputs.find(kFirst), nullptr);
    outputs.append(kFirst, kText);
    outputs.append(kSecond, {"", 1, 0});
    ASSERT_NE(outputs.find(kFirst), nullptr);
    EXPECT_EQ(*outputs.find(kFirst), kText);
    outputs.sync();
  }
  EvaluationOutputs again(path, kIdentity);
  EXPECT_EQ(again.size(), 2);
  ASSERT_NE(again.find(kFirst), nullptr);
  EXPECT_EQ(*again.find(kFirst), kText);
  EXPECT_EQ(again.find({"mgsm", "llm", "Bengali", 0, "a1"}), nullptr);
  EXPECT_EQ(again.find({"mgsm", "layalign", "Thai", 0, "a1"}), nullptr);
  EXPECT_EQ(again.find({"msvamp", "layalign", "Bengali", 0, "a1"}), nullptr);
  EXPECT_EQ(again.find({"mgsm", "layalign", "Bengali", 0, "c3"}), nullptr);  // another question was asked
}

TEST(OutputKeys, DifferWhereTheQuestionDoes) {
  const data::EvaluationItem item{"Thai", "source", "prompt", "7", 3, "file:4"};
  const auto key = key_of(data::EvaluationTask::kMgsm, "llm", item);
  EXPECT_EQ(std::tie(key.task, key.mode, key.language), std::make_tuple("mgsm", "llm", "Thai"));
  EXPECT_EQ(key.index, 3);
  auto other = item;
  other.answer = "8", other.origin = "elsewhere:1";
  EXPECT_EQ(key_of(data::EvaluationTask::kMgsm, "llm", other), key);  // scored anew, not asked anew
  other.source = "Source";
  EXPECT_NE(key_of(data::EvaluationTask::kMgsm, "llm", other), key);
  other = item;
  other.prompt = "Prompt";
  EXPECT_NE(key_of(data::EvaluationTask::kMgsm, "llm", other), key);
}

TEST_F(Outputs, StandInTheFileAsSoonAsTheyAreAdded) {
  EvaluationOutputs outputs(path, kIdentity);
  outputs.append(kFirst, kText);
  const std::string bytes = read_bytes(path);
  const size_t newline = bytes.find('\n');
  EXPECT_EQ(json::parse(bytes.substr(0, newline)), (json{{"format", "layalign outputs 2"}, {"identity", kIdentity}}));
  EXPECT_EQ(bytes.substr(newline + 1),
            "{\"task\":\"mgsm\",\"mode\":\"layalign\",\"language\":\"Bengali\",\"index\":0,\"asked\":\"a1\","
            "\"text\":\"উত্তর: \\\"18\\\"\\nDone.\\t\",\"tokens\":7,\"generation_s\":0.25}\n");
}

TEST_F(Outputs, OfAFileTornAtAnyByteAreThoseOfItsWholeLines) {
  {
    EvaluationOutputs outputs(path, kIdentity);
    outputs.append(kFirst, kText);
    outputs.append(kSecond, kText);
  }
  const std::string whole = read_bytes(path);
  const size_t first_end = whole.find('\n', whole.find('\n') + 1) + 1;
  for (size_t size = 0; size < whole.size(); ++size) {
    write_bytes(path, whole.substr(0, size));
    EvaluationOutputs outputs(path, kIdentity);
    EXPECT_EQ(outputs.size(), size >= first_end ? 1 : 0) << size;
    if (outputs.find(kFirst) == nullptr) outputs.append(kFirst, kText);
    outputs.append(kSecond, kText);
    EXPECT_EQ(read_bytes(path), whole) << size;
  }
}

/// Power was lost: what the disk did not get reads as zeros, at the end or in between.
TEST_F(Outputs, OfAFileWithZerosInItAreThoseOfItsWholeLines) {
  {
    EvaluationOutputs outputs(path, kIdentity);
    for (const auto& key : {kFirst, kSecond}) outputs.append(key, kText);
  }
  const std::string whole = read_bytes(path);
  const size_t first = whole.find('\n') + 1, second = whole.find('\n', first) + 1;
  for (const size_t end : {first + 1, second - 1, second, second + 5, whole.size()}) {
    std::string torn = whole;
    for (size_t at = std::max(first, end - 40); at < end; ++at) torn[at] = '\0';
    write_bytes(path, torn);
    EvaluationOutputs outputs(path, kIdentity);
    EXPECT_EQ(outputs.find(kSecond) != nullptr, end < second) << end;
    for (const auto& key : {kFirst, kSecond}) {
      if (outputs.find(key) == nullptr) outputs.append(key, kText);
    }
    EXPECT_EQ(read_bytes(path).size(), whole.size()) << end;
    EXPECT_EQ(read_bytes(path).find('\0'), std::string::npos) << end;
  }
  // A first line that is durable before any other has none: this is a file of somebody else.
  const std::string foreign("\0\n\0\n", 4);
  write_bytes(path, foreign);
  EXPECT_THAT(refusal().first, HasSubstr("not a file of outputs of this version"));
  EXPECT_EQ(read_bytes(path), foreign);
}

TEST_F(Outputs, OfAnotherIdentityAreRefusedNamingWhatDiffers) {
  EvaluationOutputs(path, kIdentity).append(kFirst, kText);
  const std::string before = read_bytes(path);
  const auto [message, is_config] =
      refusal({{"encoder", "1f2e"}, {"llm", "9999"}, {"adapter", "aaaa"}, {"max_new_tokens", 512}});
  EXPECT_TRUE(is_config) << message;
  EXPECT_THAT(message, AllOf(HasSubstr(path.string()), HasSubstr("llm: \"3d4c\" there, \"9999\" here"),
                             HasSubstr("adapter: nothing there, \"aaaa\" here"), Not(HasSubstr("encoder")),
                             Not(HasSubstr("max_new_tokens"))));
  EXPECT_EQ(read_bytes(path), before);
}

TEST_F(Outputs, AreWrittenByOneEvaluationAtATime) {
  auto first = std::make_optional<EvaluationOutputs>(path, kIdentity);
  EXPECT_THAT(refusal().first, HasSubstr("is being written by another evaluation"));
  EXPECT_TRUE(refusal().second);
  first.reset();
  EXPECT_EQ(refusal().first, "no error");
}

TEST_F(Outputs, OfADamagedFileAreRefusedWithTheLine) {
  for (const std::string foreign :
       {"text\n", "[]\n", "{\"format\": \"other\"}\n", "{\"format\": \"layalign outputs 2\"}\n", "\n"}) {
    write_bytes(path, foreign);
    EXPECT_THAT(refusal().first, AllOf(HasSubstr(path.string() + ":1"), HasSubstr("not a file of outputs"))) << foreign;
    EXPECT_EQ(read_bytes(path), foreign);
  }
  std::filesystem::remove(path);
  EvaluationOutputs(path, kIdentity).append(kFirst, kText);
  const std::string good = read_bytes(path);
  for (const std::string broken : {"{}", "not json", "{\"task\":\"mgsm\",\"mode\":1}", ""}) {
    write_bytes(path, good + broken + "\n" + good.substr(good.find('\n') + 1));
    EXPECT_THAT(refusal().first, AllOf(HasSubstr(path.string() + ":3"), HasSubstr("not an output"))) << broken;
    EXPECT_FALSE(refusal().second);
  }
}

TEST_F(Outputs, ThatCannotBeWrittenNameThePath) {
  path = folder / "none/outputs.jsonl";
  EXPECT_THAT(refusal().first, AllOf(HasSubstr(path.string()), HasSubstr("cannot open")));
}

}  // namespace
}  // namespace layalign::trainer
