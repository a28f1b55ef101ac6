#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "configs/place.h"

namespace layalign::configs {

struct Entry;

/// A value of a YAML or JSON text, as written: scalars keep their characters, and nothing is converted yet.
struct Node {
  enum class Kind {
    kEmpty,   ///< nothing at all, as in "key:"
    kNull,    ///< ~ or null
    kPlain,   ///< a scalar without quotes: number, true, false or text
    kQuoted,  ///< a scalar that is text whatever it looks like
    kList,
    kMap,
  };

  Kind kind = Kind::kEmpty;
  std::string text{};          ///< of a scalar, escapes resolved
  std::vector<Node> items{};   ///< of a list
  std::vector<Entry> entries;  ///< of a map in the order of the text; keys may repeat
  Place place{};
};

/// A key of a map and its value.
struct Entry {
  std::string key;
  Place place{};
  Node value;
};

/// The one document of a YAML or JSON text; kEmpty where there is none. A text whose first brace is followed by a quote
/// or by the closing brace is read as JSON. Refused: invalid UTF-8, a byte order mark, control characters, several
/// documents, anchors, aliases, merge keys, tags, keys that are not plain words, more than 64 levels.
/// Errors: ConfigError with a line a problem, "SOURCE:LINE:COLUMN: problem".
Node read_document(std::string_view text, const std::string& source);

/// read_document's two languages, for texts that are already known to be clean UTF-8.
Node read_yaml(std::string_view text, const std::string& source);
Node read_json(std::string_view text, const std::string& source);

}  // namespace layalign::configs
