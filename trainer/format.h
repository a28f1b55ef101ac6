#pragma once

#include <array>
#include <cstdint>
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

/// 1234567 -> "1,234,567"
inline std::string with_commas(int64_t value) {
  std::string digits = std::to_string(value);
  for (auto i = static_cast<int64_t>(digits.size()) - 3; i > 0; i -= 3) digits.insert(i, 1, ',');
  return digits;
}

}  // namespace layalign::trainer
