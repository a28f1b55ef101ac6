#include "configs/json_events.h"

#include <algorithm>

#include "configs/strict_json.h"

namespace layalign::configs {

void JsonEvents::run() {
  // Both would pass: nlohmann skips a byte order mark and takes a zero byte for the end of the text.
  if (text_.starts_with("\xEF\xBB\xBF")) {
    throw JsonError("the text begins with a byte order mark: save it as UTF-8 without one", 0);
  }
  if (const size_t zero = text_.find('\0'); zero != std::string_view::npos) {
    throw JsonError("a zero byte: the text is damaged or not JSON", zero);
  }
  Json::sax_parse(text_.begin(), text_.end(), static_cast<nlohmann::json_sax<Json>*>(this));
}

bool JsonEvents::number_float(Json::number_float_t value, const std::string& digits) {
  if (digits.find_first_of(".eE") == std::string::npos) {
    next_token();
    throw JsonError("the integer " + digits + " does not fit 64 bits", begin_);
  }
  return scalar(value);
}

bool JsonEvents::key(std::string& key) {
  next_token();
  on_key(std::move(key));
  return true;
}

bool JsonEvents::parse_error(size_t position, const std::string&, const nlohmann::detail::exception& error) {
  // "[json.exception.parse_error.101] parse error at line 1, column 5: syntax error while ...": the place is ours to
  // add.
  std::string message = error.what();
  for (const std::string_view start : {"syntax error", "number overflow"}) {
    if (const size_t at = message.find(start); at != std::string::npos) message.erase(0, at);
  }
  throw JsonError(message, std::min(position == 0 ? 0 : position - 1, text_.size()));
}

bool JsonEvents::scalar(Json value) {
  next_token();
  on_scalar(std::move(value));
  return true;
}

bool JsonEvents::open(bool is_object) {
  next_token();
  if (++depth_ > kMaxJsonDepth) {
    throw JsonError("more than " + std::to_string(kMaxJsonDepth) + " levels of nesting", begin_);
  }
  on_open(is_object);
  return true;
}

bool JsonEvents::close() {
  next_token();
  --depth_;
  on_close();
  return true;
}

// Each event is one token of a text that is valid up to it, so its bounds are simple to find.
void JsonEvents::next_token() {
  begin_ = std::min(text_.find_first_not_of(" \t\r\n,:", end_), text_.size());
  end_ = begin_;
  if (begin_ == text_.size()) return;
  const char first = text_[begin_];
  if (first == '"') {
    for (++end_; text_[end_] != '"'; ++end_) end_ += text_[end_] == '\\' ? 1 : 0;
    ++end_;
  } else if (std::string_view("{}[]").find(first) != std::string_view::npos) {
    ++end_;
  } else {
    end_ = std::min(text_.find_first_of(" \t\r\n,:]}", begin_), text_.size());
  }
}

}  // namespace layalign::configs
