#pragma once

#include <cstddef>
#include <string_view>

namespace layalign::data {

/// Offset of the end of the extended grapheme cluster (a character as a reader sees it; Unicode 16.0, UAX 29) that
/// begins at `begin` of a well-formed text. `begin` must be the begin of the text or the end of a cluster.
size_t grapheme_end(std::string_view text, size_t begin);

}  // namespace layalign::data
