#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "data/error.h"

namespace layalign::data {

// Files are read in blocks, so no more than a block and the longest record of a file is in memory. With a ProblemHandler
// every problem of a file is found, not the first alone.

/// Told of each thing that cannot be used and of its file; reading then goes on behind it. Where there is none, the error is
/// thrown.
using ProblemHandler = std::function<void(const std::filesystem::path&, const DataError&)>;

/// Runs `piece`; its DataError goes to the handler, where there is one. Returns whether there was none.
template <class Piece>
bool go_on_after(const std::filesystem::path& path, const ProblemHandler& on_problem, Piece&& piece) {
  if (!on_problem) return piece(), true;
  try {
    piece();
    return true;
  } catch (const DataError& error) {
    on_problem(path, error);
    return false;
  }
}

/// A line or an object may have this many bytes: more is a file that lacks its line ends or a closing quote.
inline constexpr size_t kLongestRecordBytes = size_t{64} << 20;

/// Calls `visit(line, number)` for each line of a text file, numbered from 1, without its line end (LF or CR LF), until it
/// returns false. Returns the number of lines read; nothing where the file could not be read to its end.
/// Errors: DataError "file:line: ..." for bytes that are not UTF-8, NUL, a byte order mark, or a line that is too long.
std::optional<int64_t> for_each_line(const std::filesystem::path& path,
                                     const std::function<bool(std::string_view, int64_t)>& visit,
                                     const ProblemHandler& on_problem = {});

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
void for_each_jsonl(const std::filesystem::path& path, const std::function<bool(const JsonRecord&)>& visit,
                    const ProblemHandler& on_problem = {});

/// "file:line", with " (item n)" where `item` is not 0.
std::string place(const std::string& path, int64_t line, int64_t item = 0);

/// The same for a file that is one JSON array of objects; they are parsed one at a time. Where the array itself is broken,
/// nothing behind that place is read.
void for_each_in_array(const std::filesystem::path& path, const std::function<bool(const JsonRecord&)>& visit,
                       const ProblemHandler& on_problem = {});

}  // namespace layalign::data
