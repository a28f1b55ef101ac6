#include "data/text_file.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <system_error>

#include "configs/strict_json.h"
#include "data/utf8.h"

namespace layalign::data {
namespace {

/// A file from the place reached in it to the end of the block read last.
class Window {
 public:
  explicit Window(const std::filesystem::path& path) : path_(path), file_(std::fopen(path.c_str(), "rb"), std::fclose) {
    if (!file_) fail();
  }

  std::string_view text() const { return std::string_view(buffer_).substr(begin_); }
  bool is_empty() { return text().empty() && !grow(); }
  void drop(size_t bytes) { begin_ += bytes; }

  /// Reads another block; false at the end of the file.
  bool grow() {
    buffer_.erase(0, begin_);
    begin_ = 0;
    const size_t old = buffer_.size();
    buffer_.resize(old + kBlockBytes);
    buffer_.resize(old + std::fread(buffer_.data() + old, 1, kBlockBytes, file_.get()));
    if (std::ferror(file_.get())) fail();
    return buffer_.size() > old;
  }

 private:
  static constexpr size_t kBlockBytes = size_t{1} << 18;

  [[noreturn]] void fail() const {
    throw DataError("cannot read " + path_.string() + ": " + std::generic_category().message(errno));
  }

  std::filesystem::path path_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  std::string buffer_;
  size_t begin_ = 0;
};

/// Bytes of the next line, without its LF; all that is left where there is none.
size_t line_bytes(Window* window, const std::filesystem::path& path, int64_t number) {
  for (size_t searched = 0;;) {
    const size_t end = window->text().find('\n', searched);
    if (end != std::string_view::npos) return end;
    searched = window->text().size();
    if (searched > kLongestRecordBytes) {
      throw DataError(place(path, number) + ": a line of more than 64 MiB; does the file have line ends?");
    }
    if (!window->grow()) return searched;
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

/// Bytes of the object that begins the window, to its closing brace; nothing where the file ends first.
std::optional<size_t> object_bytes(Window* window, const std::filesystem::path& path, int64_t line) {
  int depth = 0;
  bool in_string = false;
  size_t at = 0;
  do {
    if (at > kLongestRecordBytes) {
      throw DataError(place(path, line) + ": an object of more than 64 MiB; does it lack a closing quote or brace?");
    }
    const std::string_view text = window->text();
    for (; at < text.size(); ++at) {
      const char c = text[at];
      if (in_string) {
        if (c == '\\')
          ++at;  // may step over the end of the block: the next one begins behind the character
        else if (c == '"')
          in_string = false;
      } else if (c == '"') {
        in_string = true;
      } else if (c == '{' || c == '[') {
        ++depth;
      } else if ((c == '}' || c == ']') && --depth == 0) {
        return at + 1;
      }
    }
  } while (window->grow());
  return std::nullopt;
}

/// Steps over white space, counts its lines, and returns the character behind it; NUL at the end of the file.
char next_character(Window* window, int64_t* line) {
  for (; !window->is_empty(); window->drop(1)) {
    const char c = window->text().front();
    if (c != ' ' && c != '\t' && c != '\r' && c != '\n') return c;
    *line += c == '\n';
  }
  return '\0';
}

/// for_each_in_array up to the first place where the array itself is broken.
void read_array(const std::filesystem::path& path, const std::function<bool(const JsonRecord&)>& visit,
                const ProblemHandler& on_problem) {
  Window window(path);
  int64_t line = 1;
  const auto refuse = [&](const std::string& what) { throw DataError(place(path, line) + ": " + what); };
  if (next_character(&window, &line) != '[') refuse("expected a JSON array of objects");
  window.drop(1);
  char next = next_character(&window, &line);
  const bool is_empty = next == ']';
  for (int64_t item = 1; !is_empty; ++item) {
    if (next != '{') refuse("expected a JSON object");
    const auto bytes = object_bytes(&window, path, line);
    if (!bytes) refuse("the file ends inside this object; is it complete?");
    const std::string_view object = window.text().substr(0, *bytes);
    bool more = true;
    go_on_after(path, on_problem, [&] { more = visit(parse_record(object, path, line, item)); });
    if (!more) return;
    line += std::count(object.begin(), object.end(), '\n');
    window.drop(*bytes);
    next = next_character(&window, &line);
    if (next == ']') break;
    if (next != ',') refuse("expected ',' or ']' after an object; is the file complete?");
    window.drop(1);
    next = next_character(&window, &line);
  }
  window.drop(1);
  if (next_character(&window, &line) != '\0' || !window.is_empty()) refuse("text after the closing ']' of the array");
}

}  // namespace

std::optional<int64_t> for_each_line(const std::filesystem::path& path,
                                     const std::function<bool(std::string_view, int64_t)>& visit,
                                     const ProblemHandler& on_problem) {
  int64_t number = 0;
  const bool was_read = go_on_after(path, on_problem, [&] {
    Window window(path);
    for (bool more = true; more && !window.is_empty();) {
      const size_t bytes = line_bytes(&window, path, ++number);
      std::string_view line = window.text().substr(0, bytes);
      if (line.ends_with('\r')) line.remove_suffix(1);
      go_on_after(path, on_problem, [&] {
        check_text(line, path, number);
        more = visit(line, number);
      });
      window.drop(std::min(bytes + 1, window.text().size()));
    }
  });
  return was_read ? std::optional(number) : std::nullopt;
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

void for_each_jsonl(const std::filesystem::path& path, const std::function<bool(const JsonRecord&)>& visit,
                    const ProblemHandler& on_problem) {
  const auto visit_line = [&](std::string_view line, int64_t number) {
    if (line.find_first_not_of(" \t") == std::string_view::npos) return true;
    return visit(parse_record(line, path, number));
  };
  for_each_line(path, visit_line, on_problem);
}

void for_each_in_array(const std::filesystem::path& path, const std::function<bool(const JsonRecord&)>& visit,
                       const ProblemHandler& on_problem) {
  go_on_after(path, on_problem, [&] { read_array(path, visit, on_problem); });
}

}  // namespace layalign::data
