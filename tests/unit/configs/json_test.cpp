#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdint>
#include <limits>
#include <string>
#include <system_error>

#include "configs/strict_json.h"
#include "tests/unit/configs/config_files.h"

namespace layalign::configs {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// The message of the JsonError for `text`, and the offset it names.
std::pair<std::string, size_t> json_refusal(std::string_view text) {
  try {
    const auto value = parse_json(text, "f.json");
    ADD_FAILURE() << "read as " << value;
  } catch (const JsonError& error) {
    return {error.what(), error.byte};
  }
  return {};
}

TEST(StrictJson, ReadsEveryKindOfValue) {
  const auto value =
      parse_json(R"( {"a": [1, -2, 2.5, true, false, null, {}], "b": "\u00e9\ud83d\ude00\n", "": []} )", "f");
  EXPECT_EQ(value, nlohmann::json::parse(R"({"a":[1,-2,2.5,true,false,null,{}],"b":"é😀\n","":[]})"));
  EXPECT_EQ(parse_json("7", "f"), 7);
  EXPECT_EQ(parse_json("\"x\"", "f"), "x");
}

TEST(StrictJson, KeepsIntegersExact) {
  EXPECT_EQ(parse_json("9223372036854775807", "f").get<int64_t>(), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(parse_json("-9223372036854775808", "f").get<int64_t>(), std::numeric_limits<int64_t>::min());
  const auto largest = parse_json("18446744073709551615", "f");
  EXPECT_TRUE(largest.is_number_unsigned());
  EXPECT_EQ(largest.get<uint64_t>(), std::numeric_limits<uint64_t>::max());
  for (const char* text : {"18446744073709551616", "-9223372036854775809", "[1, 100000000000000000000]"}) {
    EXPECT_THAT(json_refusal(text).first, HasSubstr("does not fit 64 bits")) << text;
  }
  EXPECT_EQ(json_refusal("[1, 100000000000000000000]").second, 4u);
}

TEST(StrictJson, RefusesRepeatedKeysAtTheSecond) {
  const auto [message, byte] = json_refusal("{\"a\": 1,\n  \"b\": {\"x\\\"y\": 1, \"x\\\"y\": 2}}");
  EXPECT_EQ(message, "f.json: duplicate key 'x\"y' (line 2, column 20)");
  EXPECT_EQ(byte, 28u);
  EXPECT_NO_THROW(parse_json(R"({"a": {"a": 1}, "b": {"a": 1}})", "f"));
  EXPECT_THAT(json_refusal(R"({"a": 1, "\u0061": 2})").first, HasSubstr("duplicate key 'a'"));
}

TEST(StrictJson, LimitsTheDepth) {
  const auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_NO_THROW(parse_json(nested(kMaxJsonDepth), "f"));
  const auto [message, byte] = json_refusal(nested(kMaxJsonDepth + 1));
  EXPECT_THAT(message, HasSubstr("more than 64 levels"));
  EXPECT_EQ(byte, kMaxJsonDepth);
  EXPECT_THAT(json_refusal(nested(1'000'000)).first, HasSubstr("more than 64 levels"));
}

TEST(StrictJson, RefusesWhatIsNotJson) {
  for (const char* text : {"",
                           " ",
                           "NaN",
                           "[NaN]",
                           "[Infinity]",
                           "-Infinity",
                           "1e999",
                           "[1] 2",
                           "{} x",
                           "[1,]",
                           "{\"a\":1,}",
                           "{a: 1}",
                           "'a'",
                           "01",
                           "+1",
                           ".5",
                           "1.",
                           "0x10",
                           "[1 2]",
                           "{\"a\" 1}",
                           "{\"a\":}",
                           "[",
                           "{\"a\": [1, 2}",
                           "\"a",
                           "\"\\x\"",
                           "tru",
                           "\"tab\there\"",
                           "// x\n1",
                           "\"\\ud800\"",
                           "\"\xC3\"",
                           "\"\xED\xA0\x80\"",
                           "\"\xFF\"",
                           "\xEF\xBB\xBF{}"}) {
    const auto [message, byte] = json_refusal(text);
    EXPECT_THAT(message, StartsWith("f.json: ")) << text;
    EXPECT_LE(byte, std::string_view(text).size()) << text;
  }
  EXPECT_THAT(json_refusal(std::string_view("1\0 garbage", 10)).first, HasSubstr("zero byte"));
  EXPECT_EQ(json_refusal("[1] 2").second, 4u);
}

TEST(StrictJson, NamesThePlaceInCharacters) {
  EXPECT_THAT(json_refusal("{\"é\": 1,\n \"ß\": 1, \"ß\": 2}").first, HasSubstr("(line 2, column 10)"));
}

TEST(ReadTextFile, ReadsBytesAndNamesWhatItCannotRead) {
  const testing::TemporaryFolder folder;
  const std::string bytes("a\r\n\0\xFF", 5);
  EXPECT_EQ(read_text_file(folder.write("bytes", bytes)), bytes);
  EXPECT_EQ(read_text_file(folder.write("empty", "")), "");
  try {
    read_text_file(folder.path() / "missing");
    FAIL();
  } catch (const std::system_error& error) {
    EXPECT_EQ("cannot read " + (folder.path() / "missing").string() + ": No such file or directory", error.what());
    EXPECT_EQ(error.code(), std::errc::no_such_file_or_directory);
  }
  EXPECT_THROW(read_text_file(folder.path()), std::system_error);
  ASSERT_EQ(::mkfifo((folder.path() / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(read_text_file(folder.path() / "pipe"), "");
}

}  // namespace
}  // namespace layalign::configs
