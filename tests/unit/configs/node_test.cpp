#include "configs/node.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "configs/error.h"

namespace layalign::configs {
namespace {

using ::testing::HasSubstr;
using Kind = Node::Kind;

std::string node_refusal(std::string_view text) {
  try {
    read_document(text, "f");
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

const Node& value_of(const Node& map, std::string_view key) {
  for (const Entry& entry : map.entries) {
    if (entry.key == key) return entry.value;
  }
  throw std::out_of_range(std::string(key));
}

TEST(ReadDocument, KeepsYamlAsWritten) {
  const Node root = read_document(
      "# comment\n"
      "a: 010\n"
      "b: \"010\"\n"
      "c: ~\n"
      "d:\n"
      "null_like: null\n"
      "e: [x, 'y z', {k: 1}]\n"
      "f: |\n"
      "  line\n"
      "a: again\n",
      "f");
  ASSERT_EQ(root.kind, Kind::kMap);
  ASSERT_EQ(root.entries.size(), 8u);
  EXPECT_EQ(value_of(root, "a").kind, Kind::kPlain);
  EXPECT_EQ(value_of(root, "a").text, "010");
  EXPECT_EQ(value_of(root, "b").kind, Kind::kQuoted);
  EXPECT_EQ(value_of(root, "c").kind, Kind::kNull);
  EXPECT_EQ(value_of(root, "d").kind, Kind::kEmpty);
  EXPECT_EQ(value_of(root, "d").place.text(), "f:5:1");
  EXPECT_EQ(value_of(root, "null_like").kind, Kind::kNull);
  const Node& list = value_of(root, "e");
  ASSERT_EQ(list.items.size(), 3u);
  EXPECT_EQ(list.items[1].kind, Kind::kQuoted);
  EXPECT_EQ(list.items[1].place.text(), "f:7:8");
  EXPECT_EQ(list.items[2].entries.at(0).place.text(), "f:7:16");
  EXPECT_EQ(value_of(root, "f").text, "line\n");
  EXPECT_EQ(root.entries.back().value.text, "again");
}

TEST(ReadDocument, CountsColumnsInCharactersAndReadsCarriageReturns) {
  const Node root = read_document("a: [é😀, x]\r\nb: 2\r\n", "f");
  EXPECT_EQ(value_of(root, "a").items.at(1).place.text(), "f:1:9");
  EXPECT_EQ(value_of(root, "b").text, "2");
  EXPECT_EQ(value_of(root, "b").place.text(), "f:2:4");
}

TEST(ReadDocument, AnEmptyTextIsEmpty) {
  for (const char* text : {"", "\n\n", "# only a comment\n", "---\n"}) {
    EXPECT_EQ(read_document(text, "f").kind, Kind::kEmpty) << text;
  }
}

TEST(ReadDocument, ReadsJsonWithPlaces) {
  const Node root =
      read_document("{\"a\":1,\n \"b\": [1e-05, \"\\ud83d\\ude00/\\/\", null, true, {}],\"a\":-0.5E+2}", "f");
  ASSERT_EQ(root.entries.size(), 3u);
  EXPECT_EQ(root.entries[0].value.text, "1");
  EXPECT_EQ(root.entries[0].value.place.text(), "f:1:6");
  const Node& list = root.entries[1].value;
  ASSERT_EQ(list.items.size(), 5u);
  EXPECT_EQ(list.items[0].kind, Kind::kPlain);
  EXPECT_EQ(list.items[0].text, "1e-05");
  EXPECT_EQ(list.items[1].kind, Kind::kQuoted);
  EXPECT_EQ(list.items[1].text, "😀//");
  EXPECT_EQ(list.items[2].kind, Kind::kNull);
  EXPECT_EQ(list.items[3].text, "true");
  EXPECT_EQ(list.items[4].place.text(), "f:2:46");
  EXPECT_EQ(root.entries[2].place.text(), "f:2:50");
  EXPECT_EQ(root.entries[2].value.text, "-0.5E+2");
}

TEST(ReadDocument, RefusesYamlThatReadsDifferentlyFromHowItLooks) {
  EXPECT_THAT(node_refusal("a: &x 1\n"), HasSubstr("f:1:4: anchors"));
  EXPECT_THAT(node_refusal("a: &x 1\nb: *x\n"), HasSubstr("f:2:4: aliases"));
  EXPECT_THAT(node_refusal("a: {b: 1}\nc:\n  <<: {d: 1}\n"), HasSubstr("f:3:3: merge keys"));
  EXPECT_THAT(node_refusal("a: !!int 1\n"), HasSubstr("f:1:4: tags"));
  EXPECT_THAT(node_refusal("a: ! 1\n"), HasSubstr("f:1:4: tags"));
  EXPECT_THAT(node_refusal("a: !x [1]\nb: !y {c: 1}\n"),
              HasSubstr("f:1:4: tags (!name) are not read: remove it\nf:2:4: tags"));
  EXPECT_THAT(node_refusal("a: 1\n---\nb: 2\n"), HasSubstr("f:3:1: a second document"));
  EXPECT_THAT(node_refusal("%YAML 1.2\n---\na: 1\n"), HasSubstr("f:1:1: directives"));
  EXPECT_THAT(node_refusal("# x\n%a: 1\nb: 2\n"), HasSubstr("f:2:1: directives"));
  EXPECT_EQ(node_refusal("a: x%\nb: 100%\n"), "");
  EXPECT_THAT(node_refusal("? [a, b]\n: 1\n"), HasSubstr("f:1:3: expected a plain word as key"));
  EXPECT_THAT(node_refusal("~: 1\n"), HasSubstr("f:1:1: expected a plain word as key"));
  EXPECT_THAT(node_refusal("a:\nnull: 1\n"), HasSubstr("f:2:1: expected a plain word as key"));
  EXPECT_THAT(node_refusal("a: " + std::string(70, '[') + std::string(70, ']')),
              HasSubstr("f:1:67: more than 64 levels"));
}

TEST(ReadDocument, NamesThePlaceOfASyntaxError) {
  EXPECT_THAT(node_refusal("a: 1\nb: [1, 2\n"), HasSubstr("f:3:1: YAML syntax: "));
  EXPECT_THAT(node_refusal("a: 1\n  b: 2\n"), HasSubstr("f:2:4: YAML syntax: "));
  EXPECT_THAT(node_refusal("a: 'x\n"), HasSubstr("f:1:4: YAML syntax: the quote is not closed"));
  EXPECT_THAT(node_refusal("a: 1\nb: \"x\\\"\n"), HasSubstr("f:2:4: YAML syntax: the quote is not closed"));
  EXPECT_THAT(node_refusal("a: 'it''\n"), HasSubstr("f:1:4: YAML syntax: the quote is not closed"));
  EXPECT_EQ(node_refusal("a: 'it''s'\nb: \"x\\\\\"\n'c': ''\n"), "");
  EXPECT_THAT(node_refusal("a:\n\t- 1\n"), HasSubstr("YAML syntax: "));
  EXPECT_THAT(node_refusal("{\"a\": 1,\n \"b\": }"), HasSubstr("f:2:7: JSON syntax error"));
  EXPECT_THAT(node_refusal("{\"a\": 1} x"), HasSubstr("f:1:10: JSON syntax error"));
  EXPECT_THAT(node_refusal("{\"a\": 100000000000000000000}"), HasSubstr("f:1:7: JSON the integer"));
}

TEST(ReadDocument, RefusesBytesThatAreNoText) {
  EXPECT_THAT(node_refusal("\xEF\xBB\xBF"
                           "a: 1\n"),
              HasSubstr("f:1:1: the text begins with a byte order mark"));
  EXPECT_THAT(node_refusal("a: \xE9\n"), HasSubstr("f:1:4: invalid UTF-8"));
  EXPECT_THAT(node_refusal("b: é\na: \xC0\x80\n"), HasSubstr("f:2:4: invalid UTF-8"));
  for (const char* bytes :
       {"\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82", "\xF0\x80\x80\x80", "\xE0\x80\x80", "\x80", "\xFE"}) {
    EXPECT_THAT(node_refusal(bytes), HasSubstr("invalid UTF-8"));
  }
  EXPECT_THAT(node_refusal(std::string_view("a: 1\0b", 6)), HasSubstr("f:1:5: control character 0"));
  EXPECT_THAT(node_refusal("a: 1\n\x04unseen: 2\n"), HasSubstr("f:2:1: control character 4"));
  EXPECT_EQ(node_refusal("a: [é, ß, 漢, 😀]\r\n"), "");
}

}  // namespace
}  // namespace layalign::configs
