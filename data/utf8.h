#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace layalign::data {

/// Offset of the first byte that is not well-formed UTF-8 (surrogates, overlong forms and values above U+10FFFF are
/// not); nothing where all of the text is.
std::optional<size_t> first_invalid_utf8(std::string_view text);

/// Bytes of the character that begins at `offset` of a well-formed text.
size_t utf8_length(std::string_view text, size_t offset);

/// The character that begins at `offset` of a well-formed text.
char32_t code_point_at(std::string_view text, size_t offset);

/// Writes a character at the end of a text.
void append_utf8(char32_t character, std::string& text);

/// Bytes as text: each longest begin of a character that goes no further, and each other byte that fits nowhere,
/// becomes U+FFFD.
std::string replace_invalid_utf8(std::string_view bytes);

/// Whether Unicode gives the character the property White_Space.
bool is_white_space(char32_t character);

}  // namespace layalign::data
