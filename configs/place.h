#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace layalign::configs {

/// Where a text comes from: a file or an option, and the line and column in it (from 1, in characters; 0: none).
struct Place {
  std::string source;
  size_t line = 0;
  size_t column = 0;

  /// "source:line:column", or "source" alone.
  std::string text() const;
};

/// The place of a byte of `text`, which was read from `source`.
Place place_at(std::string source, std::string_view text, size_t byte);

}  // namespace layalign::configs
