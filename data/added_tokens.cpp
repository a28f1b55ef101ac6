#include "data/added_tokens.h"

#include <algorithm>

#include "data/unicode.h"
#include "data/utf8.h"

namespace layalign::data {
namespace {

// Where the last character of `text` begins.
size_t last_character(std::string_view text) {
  size_t character = text.size() - 1;
  while (character > 0 && (static_cast<uint8_t>(text[character]) & 0xC0) == 0x80) --character;
  return character;
}

// Where the white space at the end of `text` begins.
size_t space_at_end(std::string_view text) {
  size_t begin = text.size();
  while (begin > 0) {
    const size_t character = last_character(text.substr(0, begin));
    if (!is_white_space(code_point_at(text, character))) break;
    begin = character;
  }
  return begin;
}

// Whether a word character stands beside [begin, end).
bool is_inside_word(std::string_view text, size_t begin, size_t end) {
  const auto is_word = [&](size_t at) { return is_word_character(code_point_at(text, at)); };
  return (begin > 0 && is_word(last_character(text.substr(0, begin)))) || (end < text.size() && is_word(end));
}

// Where the white space at `begin` ends.
size_t space_end(std::string_view text, size_t begin) {
  while (begin < text.size() && is_white_space(code_point_at(text, begin))) begin += utf8_length(text, begin);
  return begin;
}

}  // namespace

AddedTokenFinder::AddedTokenFinder(std::vector<AddedToken> tokens, const std::vector<std::string>& patterns)
    : tokens_(std::move(tokens)), trie_(std::vector<std::string_view>(patterns.begin(), patterns.end())) {}

std::vector<Section> AddedTokenFinder::split(std::string_view text) const {
  std::vector<Section> sections;
  size_t done = 0;  // text before it is in a section already
  for (size_t at = 0; at < text.size();) {
    const AddedToken* token = nullptr;
    size_t length = utf8_length(text, at);
    trie_.prefixes(text.substr(at), [&](size_t bytes, int32_t index) {
      token = &tokens_[index];
      length = bytes;
    });
    const size_t begin = at;
    at += length;
    if (token == nullptr || (token->single_word && is_inside_word(text, begin, at))) continue;
    const size_t section_begin = std::max(token->strip_left ? space_at_end(text.substr(0, begin)) : begin, done);
    const size_t section_end = token->strip_right ? space_end(text, at) : at;
    if (done < section_begin) sections.push_back({text.substr(done, section_begin - done), std::nullopt});
    sections.push_back({text.substr(section_begin, section_end - section_begin), token->id});
    at = done = section_end;
  }
  if (done < text.size()) sections.push_back({text.substr(done), std::nullopt});
  return sections;
}

}  // namespace layalign::data
