// UTF-8, grapheme clusters, normalisation rules and the trie: what tokenizers are made of.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/bpe.h"
#include "data/charsmap.h"
#include "data/error.h"
#include "data/graphemes.h"
#include "data/piece_trie.h"
#include "data/utf8.h"

namespace layalign::data {
namespace {

using testing::ElementsAre;
using testing::Pair;

TEST(Utf8, FindsTheFirstBadByte) {
  EXPECT_FALSE(first_invalid_utf8("aé€\U0001F600"));
  EXPECT_FALSE(first_invalid_utf8(std::string_view("\0", 1)));
  EXPECT_EQ(first_invalid_utf8("a\x80"), 1u);             // a continuation alone
  EXPECT_EQ(first_invalid_utf8("ab\xE2\x82"), 2u);        // cut off
  EXPECT_EQ(first_invalid_utf8("\xC0\x80"), 0u);          // overlong
  EXPECT_EQ(first_invalid_utf8("\xE0\x80\x80"), 0u);      // overlong
  EXPECT_EQ(first_invalid_utf8("\xED\xA0\x80"), 0u);      // a surrogate
  EXPECT_EQ(first_invalid_utf8("\xF4\x90\x80\x80"), 0u);  // above U+10FFFF
}

TEST(Utf8, ReadsCharacters) {
  const std::string text = "aé€\U0001F600";
  EXPECT_EQ(code_point_at(text, 0), U'a');
  EXPECT_EQ(code_point_at(text, 1), U'é');
  EXPECT_EQ(code_point_at(text, 3), U'€');
  EXPECT_EQ(code_point_at(text, 6), U'\U0001F600');
  EXPECT_TRUE(is_white_space(U'\u3000'));
  EXPECT_FALSE(is_white_space(U'\u200B'));
}

std::vector<std::string> clusters(const std::string& text) {
  std::vector<std::string> found;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = grapheme_end(text, begin);
    found.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return found;
}

TEST(Graphemes, AreCutAsUnicodeSays) {
  EXPECT_THAT(clusters("a\r\nb\n"), ElementsAre("a", "\r\n", "b", "\n"));
  EXPECT_THAT(clusters("e\u0301x"), ElementsAre("e\u0301", "x"));
  EXPECT_THAT(clusters("\n\u0301"), ElementsAre("\n", "\u0301"));
  EXPECT_THAT(clusters("\u0E01\u0E33"), ElementsAre("\u0E01\u0E33"));  // SpacingMark
  EXPECT_THAT(clusters("\u0600a"), ElementsAre("\u0600a"));            // Prepend
  EXPECT_THAT(clusters("\u1100\u1161\u11A8\uAC00\u11A8\uAC01\u1161"),  // Hangul
              ElementsAre("\u1100\u1161\u11A8", "\uAC00\u11A8", "\uAC01", "\u1161"));
  EXPECT_THAT(clusters("\u0915\u094D\u0915\u0915"), ElementsAre("\u0915\u094D\u0915", "\u0915"));  // Indic conjunct
  EXPECT_THAT(clusters("\U0001F469\u200D\U0001F467\U0001F467"),
              ElementsAre("\U0001F469\u200D\U0001F467", "\U0001F467"));
  EXPECT_THAT(clusters("\U0001F1EB\U0001F1F7\U0001F1E9"), ElementsAre("\U0001F1EB\U0001F1F7", "\U0001F1E9"));
}

TEST(PieceTrie, FindsAllPrefixesShortestFirst) {
  const std::vector<std::string_view> strings{"ab", "a", "abcd", "b", "\xC3\xA9", "ab", ""};
  const PieceTrie trie(strings);
  std::vector<std::pair<size_t, int32_t>> found;
  trie.prefixes("abcde", [&](size_t bytes, int32_t index) { found.emplace_back(bytes, index); });
  EXPECT_THAT(found, ElementsAre(Pair(1, 1), Pair(2, 5), Pair(4, 2)));  // of equal strings the last
  EXPECT_EQ(trie.find("b"), 3);
  EXPECT_EQ(trie.find("é"), 4);
  EXPECT_FALSE(trie.find("abc"));
  EXPECT_FALSE(trie.find(""));
  EXPECT_FALSE(PieceTrie(std::vector<std::string_view>{}).find("a"));
}

std::string unit(uint32_t value) {
  return {static_cast<char>(value), static_cast<char>(value >> 8), static_cast<char>(value >> 16),
          static_cast<char>(value >> 24)};
}

// One rule: 'a' becomes the replacement at `place`. The cell of 'a' is at 256 + 'a', that of its value at 512 + 'a'.
std::string one_rule(uint32_t place, const std::string& replacements) {
  std::vector<uint32_t> units(1024, 0);
  units[0] = 256 << 10;
  units[256 + 'a'] = 'a' | 0x100 | 768 << 10;
  units[512 + 'a'] = place;
  std::string bytes = unit(static_cast<uint32_t>(units.size() * 4));
  for (const uint32_t value : units) bytes += unit(value);
  return bytes + replacements;
}

TEST(SentencePieceMerges, AreThePairsThatSpellAPieceAndCostNoMoreThanTheFile) {
  const std::vector<Piece> pieces = {{.text = "é"}, {.text = "éb"}, {.text = "b"}, {.text = "ébb"}, {.text = "bb"}};
  std::vector<std::vector<int64_t>> merges;
  for (const BpeMerge& merge : sentencepiece_merges(pieces)) merges.push_back({merge.left, merge.right, merge.merged});
  EXPECT_THAT(merges,
              ElementsAre(ElementsAre(0, 2, 1), ElementsAre(0, 4, 3), ElementsAre(1, 2, 3), ElementsAre(2, 2, 4)));
  // Each cut looked for from the start would take many minutes here.
  const std::vector<Piece> long_piece = {{.text = "b"}, {.text = std::string(1'000'000, 'a')}};
  EXPECT_TRUE(sentencepiece_merges(long_piece).empty());
}

TEST(Charsmap, ReplacesShortClustersWholeAndLongOnesByCharacter) {
  const Charsmap rules(one_rule(2, std::string("x\0yz\0", 5)));
  EXPECT_EQ(rules.normalize("b a!"), "b yz!");
  EXPECT_EQ(rules.normalize("a\u0301"), "yz");                                // 3 bytes: the cluster goes as a whole
  EXPECT_EQ(rules.normalize("a\u0301\u0302\u0303"), "yz\u0301\u0302\u0303");  // 7 bytes
  EXPECT_EQ(rules.normalize(""), "");
  EXPECT_EQ(Charsmap(one_rule(1, std::string("x\0", 2))).normalize("bab"), "bb");  // a rule may remove
}

TEST(Charsmap, RefusesDamagedRules) {
  EXPECT_THROW(Charsmap("ab"), DataError);
  EXPECT_THROW(Charsmap(unit(8) + "abcd"), DataError);
  EXPECT_THROW(Charsmap(unit(3) + "abc"), DataError);
  EXPECT_THROW(Charsmap(one_rule(0, "\xFF")), DataError);
  EXPECT_THROW(Charsmap(one_rule(9, std::string("x\0", 2))).normalize("a"), DataError);
  EXPECT_THROW(Charsmap(one_rule(1, std::string("é\0", 3))).normalize("a"), DataError);  // inside a character
  EXPECT_EQ(Charsmap(unit(4) + unit(1u << 30)).normalize("abc"), "abc");                 // points out of the trie
}

}  // namespace
}  // namespace layalign::data
