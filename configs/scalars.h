#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace layalign::configs {

/// An integer as JSON writes it: digits with an optional '-', no leading zero, within 64 bits; else nothing.
std::optional<int64_t> parse_integer(std::string_view text);

/// A finite number as JSON writes it (-1, 0.5, 4.0e-5, 1E-4); nothing for anything else, as for a number that a double
/// cannot hold (1e999).
std::optional<double> parse_number(std::string_view text);

/// A number of bytes: an integer, or one with a unit KiB, MiB, GiB or TiB behind it (2GiB); within 64 bits, else nothing.
std::optional<int64_t> parse_bytes(std::string_view text);

/// A number of bytes as parse_bytes reads it, with the largest unit that divides it.
std::string format_bytes(int64_t bytes);

/// Seconds of a duration: an integer with a unit s, m, h or d, or several, the largest first (23h30m); else nothing.
std::optional<int64_t> parse_duration(std::string_view text);

/// A duration as parse_duration reads it: 23h30m.
std::string format_duration(int64_t seconds);

/// Whether a text without quotes is no text at all to YAML: a number in any notation, a bool, .nan, .inf.
bool looks_typed(std::string_view text);

/// The shortest digits that parse_number reads back to the same double: 1e-08, 0.0001, 0.8.
std::string format_number(double value);

/// Text as YAML: plain where that is safe, else in double quotes.
std::string format_text(const std::string& value);

}  // namespace layalign::configs
