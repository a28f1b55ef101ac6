#include "configs/node.h"

#include "configs/error.h"

namespace layalign::configs {
namespace {

// Bytes of the UTF-8 character that begins `text`; 0 where there is none (RFC 3629: no overlong forms, no surrogates).
size_t character_bytes(std::string_view text) {
  const auto byte = [text](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  const size_t size = first >= 0xC2 && first <= 0xDF   ? 2
                      : (first & 0xF0) == 0xE0         ? 3
                      : first >= 0xF0 && first <= 0xF4 ? 4
                                                       : 0;
  for (size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  const bool overlong = (first == 0xE0 && byte(1) < 0xA0) || (first == 0xF0 && byte(1) < 0x90);
  const bool surrogate = first == 0xED && byte(1) > 0x9F;
  const bool too_large = first == 0xF4 && byte(1) > 0x8F;
  return overlong || surrogate || too_large ? 0 : size;
}

void require_clean_text(std::string_view text, const std::string& source) {
  const auto refuse = [&](size_t byte, const std::string& problem) {
    throw ConfigError(place_at(source, text, byte).text() + ": " + problem);
  };
  if (text.starts_with("\xEF\xBB\xBF"))
    refuse(0, "the text begins with a byte order mark: save it as UTF-8 without one");
  for (size_t at = 0; at < text.size();) {
    const size_t size = character_bytes(text.substr(at));
    if (size == 0) refuse(at, "invalid UTF-8: save the text as UTF-8");
    const auto c = static_cast<unsigned char>(text[at]);
    if (c < 0x20 && c != '\t' && c != '\n' && c != '\r') {
      refuse(at, "control character " + std::to_string(c) + ": is this a text file?");
    }
    at += size;
  }
}

bool begins_as_json_object(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const size_t brace = text.find_first_not_of(kBlank);
  if (brace == std::string_view::npos || text[brace] != '{') return false;
  const size_t next = text.find_first_not_of(kBlank, brace + 1);
  return next != std::string_view::npos && (text[next] == '"' || text[next] == '}');
}

}  // namespace

Node read_document(std::string_view text, const std::string& source) {
  require_clean_text(text, source);
  return begins_as_json_object(text) ? read_json(text, source) : read_yaml(text, source);
}

}  // namespace layalign::configs
