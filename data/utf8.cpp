#include "data/utf8.h"

#include <cstdint>

namespace layalign::data {
namespace {

// Bytes of a character by its first byte; 0 where no character begins so.
size_t length_of(uint8_t first) {
  if (first < 0x80) return 1;
  if (first < 0xC2) return 0;
  if (first < 0xE0) return 2;
  if (first < 0xF0) return 3;
  return first < 0xF5 ? 4 : 0;
}

bool is_continuation(char byte) { return (static_cast<uint8_t>(byte) & 0xC0) == 0x80; }

// The second byte rules out overlong forms, surrogates and values above U+10FFFF.
bool second_byte_fits(uint8_t first, uint8_t second) {
  switch (first) {
    case 0xE0:
      return second >= 0xA0;
    case 0xED:
      return second <= 0x9F;
    case 0xF0:
      return second >= 0x90;
    case 0xF4:
      return second <= 0x8F;
    default:
      return true;
  }
}

// Bytes from `i` that are the begin of a character, or all of it; 0 where no character begins so.
size_t fitting_bytes(std::string_view text, size_t i) {
  const auto first = static_cast<uint8_t>(text[i]);
  const size_t length = length_of(first);
  if (length < 2) return length;
  size_t fitting = 1;
  while (fitting < length && i + fitting < text.size() && is_continuation(text[i + fitting])) {
    if (fitting == 1 && !second_byte_fits(first, static_cast<uint8_t>(text[i + 1]))) break;
    ++fitting;
  }
  return fitting;
}

bool is_whole(std::string_view text, size_t i, size_t fitting) {
  return fitting > 0 && fitting == length_of(static_cast<uint8_t>(text[i]));
}

}  // namespace

std::optional<size_t> first_invalid_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const size_t fitting = fitting_bytes(text, i);
    if (!is_whole(text, i, fitting)) return i;
    i += fitting;
  }
  return std::nullopt;
}

std::string replace_invalid_utf8(std::string_view bytes) {
  std::string text;
  for (size_t i = 0; i < bytes.size();) {
    const size_t fitting = fitting_bytes(bytes, i);
    text += is_whole(bytes, i, fitting) ? bytes.substr(i, fitting) : std::string_view("\uFFFD");
    i += fitting == 0 ? 1 : fitting;
  }
  return text;
}

void append_utf8(char32_t c, std::string& text) {
  const auto continuation = [&](int shift) { text += static_cast<char>(0x80 | (c >> shift & 0x3F)); };
  if (c < 0x80) {
    text += static_cast<char>(c);
  } else if (c < 0x800) {
    text += static_cast<char>(0xC0 | c >> 6);
    continuation(0);
  } else if (c < 0x10000) {
    text += static_cast<char>(0xE0 | c >> 12);
    continuation(6);
    continuation(0);
  } else {
    text += static_cast<char>(0xF0 | c >> 18);
    continuation(12);
    continuation(6);
    continuation(0);
  }
}

size_t utf8_length(std::string_view text, size_t offset) { return length_of(static_cast<uint8_t>(text[offset])); }

char32_t code_point_at(std::string_view text, size_t offset) {
  const size_t length = utf8_length(text, offset);
  const auto first = static_cast<uint8_t>(text[offset]);
  if (length == 1) return first;
  char32_t value = first & (0xFF >> (length + 1));
  for (size_t k = 1; k < length; ++k) value = value << 6 | (static_cast<uint8_t>(text[offset + k]) & 0x3F);
  return value;
}

bool is_white_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
         c == 0x202F || c == 0x205F || c == 0x3000;
}

}  // namespace layalign::data
