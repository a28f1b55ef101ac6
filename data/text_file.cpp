#include "data/text_file.h"

#include <algorithm>

#include "configs/strict_json.h"
#include "data/error.h"
#include "data/utf8.h"

namespace layalign::data {
namespace {

std::string read(const std::filesystem::path& path) {
  try {
    return configs::read_text_file(path);
  } catch (const std::exception& error) {
    throw DataError(error.what());
  }
}

void check_text(std::string_view line, const std::filesystem::path& path, int64_t number) {
  if (number == 1 && line.starts_with("\xEF\xBB\xBF")) {
    throw DataError(place(path, number) + ": the file begins with a byte order mark; save it as UTF-8 without one");
  }
  if (const auto nul = line.find('\0'); nul != std::string_view::npos) {
    throw DataError(place(path, number) + ": NUL byte at byte " + std::to_string(nul + 1) + " of the line");
  }
  if (const auto bad = first_invalid_utf8(line)) {
    throw DataError(place(path, number) + ": not UTF-8 at byte " + std::to_string(*bad + 1) + " of the line");
  }
}

JsonRecord parse_record(std::string_view text, const std::filesystem::path& path, int64_t line, int64_t item = 0) {
  JsonRecord record{{}, line, item, place(path, line, item)};
  try {
    record.fields = configs::parse_json(text, record.where);
  } catch (const std::exception& error) {
    throw DataError(error.what());
  }
  if (!record.fields.is_object()) throw DataError(record.where + ": expected a JSON object");
  return record;
}

/// The end of the object that begins at `begin`, one past its closing brace; npos where the text ends first.
size_t end_of_object(std::string_view text, size_t begin) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = begin; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      else if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if ((c == '}' || c == ']') && --depth == 0) {
      return i + 1;
    }
  }
  return std::string_view::npos;
}

/// Steps over white space and counts its lines.
size_t skip_space(std::string_view text, size_t at, int64_t* line) {
  for (; at < text.size() && std::string_view(" \t\r\n").find(text[at]) != std::string_view::npos; ++at) *line += text[at] == '\n';
  return at;
}

}  // namespace

void for_each_line(const std::filesystem::path& path, const std::function<bool(std::string_view, int64_t)>& visit) {
  const std::string text = read(path);
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line(text.data() + begin, end - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    check_text(line, path, ++number);
    if (!visit(line, number)) return;
    begin = end + 1;
  }
}

std::string place(const std::string& path, int64_t line, int64_t item) {
  return path + ":" + std::to_string(line) + (item == 0 ? "" : " (item " + std::to_string(item) + ")");
}

std::string JsonRecord::text(const char* key) const {
  const auto found = fields.find(key);
  if (found == fields.end()) throw DataError(where + ": field '" + key + "' is missing");
  if (!found->is_string()) throw DataError(where + ": field '" + key + "' must be a string, got " + found->type_name());
  return found->get<std::string>();
}

std::string JsonRecord::text_or(const char* key, const std::string& fallback) const {
  const auto found = fields.find(key);
  return found == fields.end() || found->is_null() ? fallback : text(key);
}

void for_each_jsonl(const std::filesystem::path& path, const std::function<bool(const JsonRecord&)>& visit) {
  for_each_line(path, [&](std::string_view line, int64_t number) {
    if (line.find_first_not_of(" \t") == std::string_view::npos) return true;
    return visit(parse_record(line, path, number));
  });
}

void for_each_in_array(const std::filesystem::path& path, const std::function<bool(const JsonRecord&)>& visit) {
  const std::string text = read(path);
  int64_t line = 1;
  const auto refuse = [&](const std::string& what) { throw DataError(place(path, line) + ": " + what); };
  size_t at = skip_space(text, 0, &line);
  if (at == text.size() || text[at] != '[') refuse("expected a JSON array of objects");
  at = skip_space(text, at + 1, &line);
  const auto finish = [&] {
    if (skip_space(text, at + 1, &line) != text.size()) refuse("text after the closing ']' of the array");
  };
  if (at < text.size() && text[at] == ']') return finish();
  for (int64_t item = 1;; ++item) {
    if (at == text.size() || text[at] != '{') refuse("expected a JSON object");
    const size_t end = end_of_object(text, at);
    if (end == std::string::npos) refuse("the file ends inside this object; is it complete?");
    const std::string_view object(text.data() + at, end - at);
    if (!visit(parse_record(object, path, line, item))) return;
    line += std::count(object.begin(), object.end(), '\n');
    at = skip_space(text, end, &line);
    if (at < text.size() && text[at] == ']') return finish();
    if (at == text.size() || text[at] != ',') refuse("expected ',' or ']' after an object; is the file complete?");
    at = skip_space(text, at + 1, &line);
  }
}

}  // namespace layalign::data
