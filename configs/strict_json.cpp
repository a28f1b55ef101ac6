#include "configs/strict_json.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <system_error>
#include <vector>

#include "configs/json_events.h"
#include "configs/place.h"

namespace layalign::configs {
namespace {

using nlohmann::json;

class JsonBuilder : public JsonEvents {
 public:
  explicit JsonBuilder(std::string_view text) : JsonEvents(text) {}

  json build() {
    run();
    return std::move(root_);
  }

 private:
  void on_open(bool is_object) override { open_.push_back(&put(is_object ? json::object() : json::array())); }
  void on_close() override { open_.pop_back(); }
  void on_scalar(json value) override { put(std::move(value)); }

  void on_key(std::string key) override {
    if (open_.back()->contains(key)) throw JsonError("duplicate key '" + key + "'", token_offset());
    key_ = std::move(key);
  }

  json& put(json value) {
    if (open_.empty()) return root_ = std::move(value);
    json& parent = *open_.back();
    if (parent.is_object()) return parent[key_] = std::move(value);
    parent.push_back(std::move(value));
    return parent.back();
  }

  json root_;
  std::vector<json*> open_;
  std::string key_;
};

}  // namespace

json parse_json(std::string_view text, std::string_view where) {
  try {
    return JsonBuilder(text).build();
  } catch (const JsonError& error) {
    const Place place = place_at("", text, error.byte);
    throw JsonError(std::string(where) + ": " + error.what() + " (line " + std::to_string(place.line) + ", column " +
                        std::to_string(place.column) + ")",
                    error.byte);
  }
}

namespace {

/// Null where it cannot be opened. Of a pipe that nobody writes into opening would wait for ever: so it does not, and the
/// pipe is read as empty.
std::FILE* open_file(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (descriptor < 0) return nullptr;
  ::fcntl(descriptor, F_SETFL, O_RDONLY);  // reading from a pipe with a writer waits
  return ::fdopen(descriptor, "rb");
}

}  // namespace

std::string read_text_file(const std::filesystem::path& path) {
  const auto fail = [&path] {
    throw std::system_error(errno, std::generic_category(), "cannot read " + path.string());
  };
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(open_file(path), std::fclose);
  if (!file) fail();
  std::string text;
  std::vector<char> block(1 << 16);
  size_t size = 0;
  while ((size = std::fread(block.data(), 1, block.size(), file.get())) > 0) text.append(block.data(), size);
  if (std::ferror(file.get())) fail();
  return text;
}

}  // namespace layalign::configs
