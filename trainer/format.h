#pragma once

#include <array>
#include <cstdio>
#include <string>

namespace layalign::trainer {

/// A short line by printf's rules: at most 255 characters, what is longer is cut.
template <class... Values>
std::string format(const char* pattern, Values... values) {
  std::array<char, 256> text{};
  std::snprintf(text.data(), text.size(), pattern, values...);
  return text.data();
}

}  // namespace layalign::trainer
