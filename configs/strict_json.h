#pragma once

#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>

namespace layalign::configs {

/// A JSON text cannot be read strictly.
class JsonError : public std::runtime_error {
 public:
  JsonError(const std::string& message, size_t byte_offset) : std::runtime_error(message), byte(byte_offset) {}

  size_t byte;  ///< offset of the offending token in the text, from 0
};

/// Containers inside containers that parse_json accepts.
inline constexpr size_t kMaxJsonDepth = 64;

/// The value of a JSON text, exactly: no repeated keys, no integer outside int64 and uint64 (it would turn into a
/// float), no NaN, no invalid UTF-8, no byte order mark, nothing after the value, at most kMaxJsonDepth levels.
/// `where` begins the messages: a path, or path:line for a line of a JSONL file.
/// Errors: JsonError, what() being "where: problem (line, column)".
nlohmann::json parse_json(std::string_view text, std::string_view where);

/// All bytes of a file; of a pipe all that is written into it, nothing where nobody writes.
/// Errors: std::system_error, what() being "cannot read PATH: reason".
std::string read_text_file(const std::filesystem::path& path);

}  // namespace layalign::configs
