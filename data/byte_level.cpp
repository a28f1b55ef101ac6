#include "data/byte_level.h"

#include <array>
#include <cstdint>
#include <unordered_map>

#include "data/utf8.h"

namespace layalign::data {
namespace {

struct Alphabet {
  std::array<std::string, 256> character_of;
  std::unordered_map<char32_t, char> byte_of;

  Alphabet() {
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool is_visible = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
      const char32_t character = is_visible ? static_cast<char32_t>(byte) : next++;
      append_utf8(character, character_of[byte]);
      byte_of[character] = static_cast<char>(byte);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet made;
  return made;
}

}  // namespace

std::string bytes_to_visible(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) text += alphabet().character_of[static_cast<uint8_t>(byte)];
  return text;
}

void append_bytes_of_visible(std::string_view text, std::string& bytes) {
  const size_t before = bytes.size();
  for (size_t i = 0; i < text.size(); i += utf8_length(text, i)) {
    const auto found = alphabet().byte_of.find(code_point_at(text, i));
    if (found == alphabet().byte_of.end()) {
      bytes.resize(before);
      bytes += text;
      return;
    }
    bytes += found->second;
  }
}

}  // namespace layalign::data
