#include "configs/place.h"

#include <algorithm>

namespace layalign::configs {

std::string Place::text() const {
  return line == 0 ? source : source + ":" + std::to_string(line) + ":" + std::to_string(column);
}

Place place_at(std::string source, std::string_view text, size_t byte) {
  const std::string_view before = text.substr(0, byte);
  const size_t line = 1 + static_cast<size_t>(std::count(before.begin(), before.end(), '\n'));
  const std::string_view row = before.substr(before.find_last_of('\n') + 1);  // npos + 1 is 0: the first line
  const auto starts_character = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; };
  const size_t column = 1 + static_cast<size_t>(std::count_if(row.begin(), row.end(), starts_character));
  return {std::move(source), line, column};
}

}  // namespace layalign::configs
