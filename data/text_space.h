#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace layalign::data {

/// The character that stands for a space in SentencePiece vocabularies, U+2581.
inline constexpr std::string_view kSpaceMark = "\u2581";

/// `text` with every `from` written as `to`.
inline std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (size_t at = 0;;) {
    const size_t found = text.find(from, at);
    out += text.substr(at, found - at);
    if (found == std::string_view::npos) return out;
    out += to;
    at = found + from.size();
  }
}

/// The vocabulary entry that stands for a byte: <0x0A>.
inline std::string byte_token(uint8_t byte) {
  char name[8];
  std::snprintf(name, sizeof name, "<0x%02X>", byte);
  return name;
}

}  // namespace layalign::data
