#include "configs/scalars.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>

namespace layalign::configs {
namespace {

constexpr std::string_view kDigits = "0123456789";

// Removes leading digits and says how many there were.
size_t take_digits(std::string_view& text) {
  const size_t count = std::min(text.find_first_not_of(kDigits), text.size());
  text.remove_prefix(count);
  return count;
}

// Removes a leading JSON integer: -?(0|[1-9][0-9]*).
bool take_integer(std::string_view& text) {
  if (text.starts_with('-')) text.remove_prefix(1);
  const bool zero = text.starts_with('0');
  const size_t count = take_digits(text);
  return count == 1 || (count > 1 && !zero);
}

bool is_number(std::string_view text) {
  if (!take_integer(text)) return false;
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    if (take_digits(text) == 0) return false;
  }
  if (text.starts_with('e') || text.starts_with('E')) {
    text.remove_prefix(1);
    if (text.starts_with('+') || text.starts_with('-')) text.remove_prefix(1);
    if (take_digits(text) == 0) return false;
  }
  return text.empty();
}

struct ByteUnit {
  std::string_view name;
  int shift;
};
constexpr std::array<ByteUnit, 4> kByteUnits{{{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}}};  // largest first

struct TimeUnit {
  char name;
  int64_t seconds;
};
constexpr std::array<TimeUnit, 4> kTimeUnits{{{'d', 86400}, {'h', 3600}, {'m', 60}, {'s', 1}}};  // largest first

template <typename T>
std::optional<T> from_text(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

std::optional<int64_t> parse_integer(std::string_view text) {
  std::string_view rest = text;
  if (!take_integer(rest) || !rest.empty()) return std::nullopt;
  return from_text<int64_t>(text);
}

std::optional<int64_t> parse_bytes(std::string_view text) {
  int shift = 0;
  for (const ByteUnit& unit : kByteUnits) {
    if (!text.ends_with(unit.name)) continue;
    text.remove_suffix(unit.name.size());
    shift = unit.shift;
    break;
  }
  const auto count = parse_integer(text);
  if (!count || *count < 0 || *count > (INT64_MAX >> shift)) return std::nullopt;
  return *count << shift;
}

std::string format_bytes(int64_t bytes) {
  for (const ByteUnit& unit : kByteUnits) {
    if (bytes > 0 && bytes % (int64_t{1} << unit.shift) == 0) return std::to_string(bytes >> unit.shift).append(unit.name);
  }
  return std::to_string(bytes);
}

std::optional<int64_t> parse_duration(std::string_view text) {
  constexpr int64_t kMost = int64_t{1} << 40;
  int64_t seconds = 0;
  bool any = false;
  for (const TimeUnit& unit : kTimeUnits) {
    const size_t end = text.find(unit.name);
    if (end == std::string_view::npos) continue;
    const auto count = parse_integer(text.substr(0, end));
    if (!count || *count < 0 || *count > kMost / unit.seconds) return std::nullopt;
    seconds += *count * unit.seconds;
    text.remove_prefix(end + 1);
    any = true;
  }
  return any && text.empty() ? std::optional(seconds) : std::nullopt;
}

std::string format_duration(int64_t seconds) {
  std::string text;
  for (const TimeUnit& unit : kTimeUnits) {
    if (seconds >= unit.seconds) text += std::to_string(seconds / unit.seconds) + unit.name;
    seconds %= unit.seconds;
  }
  return text.empty() ? "0s" : text;
}

std::optional<double> parse_number(std::string_view text) {
  return is_number(text) ? from_text<double>(text) : std::nullopt;
}

bool looks_typed(std::string_view text) {
  std::string lower;
  for (const char c : text) lower += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  if (lower == "true" || lower == "false" || lower == "null" || lower == "~") return true;
  std::string_view body = lower;
  if (body.starts_with('-') || body.starts_with('+')) body.remove_prefix(1);
  if (body == ".nan" || body == ".inf") return true;
  if (body.starts_with("0x") || body.starts_with("0o")) {
    return body.size() > 2 && body.find_first_not_of("0123456789abcdef", 2) == std::string_view::npos;
  }
  // 1, 010, 1_000, .5, 1., 1e5: digits and the signs of a number only
  return body.find_first_of(kDigits) < 2 && body.find_first_not_of("0123456789._e+-") == std::string_view::npos &&
         std::count(body.begin(), body.end(), '.') < 2 &&
         (body[0] == '.' || kDigits.find(body[0]) != std::string_view::npos);
}

std::string format_number(double value) {
  std::array<char, 40> digits{};
  for (int precision = 1;; ++precision) {
    const auto [end, error] =
        std::to_chars(digits.data(), digits.data() + digits.size(), value, std::chars_format::general, precision);
    const std::string_view text(digits.data(), static_cast<size_t>(end - digits.data()));
    if (precision == 17 || from_text<double>(text) == value) return std::string(text);
  }
}

std::string format_text(const std::string& value) {
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_./-").find(c) != std::string_view::npos;
  };
  const bool plain = !value.empty() && std::all_of(value.begin(), value.end(), is_plain) && !value.starts_with('-') &&
                     !value.starts_with("...") && !looks_typed(value);
  return plain ? value : nlohmann::json(value).dump();
}

}  // namespace layalign::configs
