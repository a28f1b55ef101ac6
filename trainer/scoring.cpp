#include "trainer/scoring.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "data/utf8.h"

namespace layalign::trainer {
namespace {

/// The zeros of all decimal digits of Unicode 16 (category Nd); each is followed by its digits 1 to 9.
constexpr std::array<char32_t, 76> kZeros{
    0x0030,  0x0660,  0x06F0,  0x07C0,  0x0966,  0x09E6,  0x0A66,  0x0AE6,  0x0B66,  0x0BE6,  0x0C66,  0x0CE6,  0x0D66,
    0x0DE6,  0x0E50,  0x0ED0,  0x0F20,  0x1040,  0x1090,  0x17E0,  0x1810,  0x1946,  0x19D0,  0x1A80,  0x1A90,  0x1B50,
    0x1BB0,  0x1C40,  0x1C50,  0xA620,  0xA8D0,  0xA900,  0xA9D0,  0xA9F0,  0xAA50,  0xABF0,  0xFF10,  0x104A0, 0x10D30,
    0x10D40, 0x11066, 0x110F0, 0x11136, 0x111D0, 0x112F0, 0x11450, 0x114D0, 0x11650, 0x116C0, 0x116D0, 0x116DA, 0x11730,
    0x118E0, 0x11950, 0x11BF0, 0x11C50, 0x11D50, 0x11DA0, 0x11F50, 0x16130, 0x16A60, 0x16AC0, 0x16B50, 0x16D70, 0x1CCF0,
    0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6, 0x1E140, 0x1E2F0, 0x1E4F0, 0x1E5F1, 0x1E950, 0x1FBF0};
static_assert(std::is_sorted(kZeros.begin(), kZeros.end()));

constexpr double kMathTolerance = 1e-3;  // of the public code

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// A character a character: digits of every script as ASCII digits, comma and point as they are, all others as a space.
std::string numerals(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); i += data::utf8_length(text, i)) {
    const char32_t character = data::code_point_at(text, i);
    const auto above = std::upper_bound(kZeros.begin(), kZeros.end(), character);
    if (above != kZeros.begin() && character - *(above - 1) < 10) {
      out += static_cast<char>('0' + (character - *(above - 1)));
    } else {
      out += character == ',' || character == '.' ? static_cast<char>(character) : ' ';
    }
  }
  return out;
}

std::string without_commas_between_digits(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    out += text[i];
    if (i + 2 < text.size() && is_digit(text[i]) && text[i + 1] == ',' && is_digit(text[i + 2])) {
      out += text[i + 2];
      i += 3;  // the digit behind the comma is used up: it cannot stand before the next comma
    } else {
      ++i;
    }
  }
  return out;
}

/// The end of the digits that begin at `begin`.
size_t end_of_digits(const std::string& text, size_t begin) {
  while (begin < text.size() && is_digit(text[begin])) ++begin;
  return begin;
}

bool is_python_space(char32_t character) {
  return data::is_white_space(character) || (character >= 0x1C && character <= 0x1F);
}

}  // namespace

double last_number(std::string_view text) {
  const std::string plain = without_commas_between_digits(numerals(text));
  std::string last = "0";
  for (size_t i = 0; i < plain.size();) {
    if (!is_digit(plain[i])) {
      ++i;
      continue;
    }
    size_t end = end_of_digits(plain, i);
    if (end + 1 < plain.size() && plain[end] == '.' && is_digit(plain[end + 1])) end = end_of_digits(plain, end + 1);
    last = plain.substr(i, end - i);
    i = end;
  }
  double value = 0;
  if (std::from_chars(last.data(), last.data() + last.size(), value).ec == std::errc::result_out_of_range) {
    const bool huge = last.find_first_not_of('0') < std::min(last.find('.'), last.size());
    value = huge ? std::numeric_limits<double>::infinity() : 0;  // as Python's float()
  }
  return value;
}

std::string_view strip(std::string_view text) {
  size_t begin = 0;
  while (begin < text.size() && is_python_space(data::code_point_at(text, begin)))
    begin += data::utf8_length(text, begin);
  size_t end = begin;  // behind the last character that is no space
  for (size_t i = begin; i < text.size();) {
    const size_t next = i + data::utf8_length(text, i);
    if (!is_python_space(data::code_point_at(text, i))) end = next;
    i = next;
  }
  return text.substr(begin, end - begin);
}

Score score(data::EvaluationTask task, std::string_view answer, std::string_view output) {
  if (!data::is_math(task)) {
    const std::string_view prediction = strip(output);
    return {std::string(prediction), prediction == answer};
  }
  const double prediction = last_number(output);
  return {python_float(prediction), std::abs(last_number(answer) - prediction) < kMathTolerance};
}

std::string python_float(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 400> buffer;
  const double size = std::abs(value);
  const bool plain = value == 0 || (size >= 1e-4 && size < 1e16);
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                 plain ? std::chars_format::fixed : std::chars_format::scientific);
  std::string text(buffer.data(), end.ptr);
  return plain && text.find('.') == text.npos ? text + ".0" : text;
}

}  // namespace layalign::trainer
