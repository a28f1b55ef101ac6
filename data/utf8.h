#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace layalign::data {

/// Offset of the first byte that is not well-formed UTF-8 (surrogates, overlong forms and values above U+10FFFF are
/// not); nothing where all of the text is.
std::optional<size_t> first_invalid_utf8(std::string_view text);

/// Bytes of the character that begins at `offset` of a well-formed text.
size_t utf8_length(std::string_view text, size_t offset);

/// The character that begins at `offset` of a well-formed text.
char32_t code_point_at(std::string_view text, size_t offset);

/// Whether Unicode gives the character the property White_Space.
bool is_white_space(char32_t character);

}  // namespace layalign::data
