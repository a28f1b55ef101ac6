#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace layalign::data {

/// Calls `visit(line, number)` for each line of a text file, numbered from 1, without its line end (LF or CR LF), until it
/// returns false. Errors: DataError "file:line: ..." for bytes that are not UTF-8, NUL, or a byte order mark.
void for_each_line(const std::filesystem::path& path, const std::function<bool(std::string_view, int64_t)>& visit);

/// One object of a JSON file and where it stands.
struct JsonRecord {
  nlohmann::json fields;
  int64_t line = 0;   ///< the line on which it begins
  int64_t item = 0;   ///< its number in the file's array, from 1; 0 in a JSONL file. An array may stand on one line.
  std::string where;  ///< "file:line", in an array "file:line (item n)"

  /// A text field. Errors: DataError naming file, line and field when it is missing or no string.
  std::string text(const char* key) const;
  /// The same, `fallback` where the field is missing or null.
  std::string text_or(const char* key, const std::string& fallback) const;
};

/// Calls `visit` for each object of a JSONL file (blank lines are passed over) until it returns false.
/// Errors: DataError with file and line.
void for_each_jsonl(const std::filesystem::path& path, const std::function<bool(const JsonRecord&)>& visit);

/// "file:line", with " (item n)" where `item` is not 0.
std::string place(const std::string& path, int64_t line, int64_t item = 0);

/// The same for a file that is one JSON array of objects; they are parsed one at a time.
void for_each_in_array(const std::filesystem::path& path, const std::function<bool(const JsonRecord&)>& visit);

}  // namespace layalign::data
