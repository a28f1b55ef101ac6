#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace layalign::data {

/// The bytes of a base64 text (RFC 4648, padded); nothing where it is none.
std::optional<std::string> decode_base64(std::string_view text);

}  // namespace layalign::data
