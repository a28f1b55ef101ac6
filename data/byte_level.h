#pragma once

#include <string>
#include <string_view>

namespace layalign::data {

/// The alphabet of byte-level vocabularies: each byte as a visible character. Printable Latin-1 stands for itself,
/// the other bytes are U+0100 and on (a space is U+0120).
std::string bytes_to_visible(std::string_view bytes);

/// Appends the bytes of a text in that alphabet; of a text that holds other characters too, its own bytes.
void append_bytes_of_visible(std::string_view text, std::string& bytes);

}  // namespace layalign::data
