#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace layalign::configs {

/// Reads a JSON text as events, each with the token it comes from (nlohmann's own events carry no position). What
/// parse_json refuses is refused here, apart from repeated keys: those are the listener's.
class JsonEvents : private nlohmann::json_sax<nlohmann::json> {
 public:
  ~JsonEvents() override = default;

 protected:
  explicit JsonEvents(std::string_view text) : text_(text) {}

  /// Sends the events. Errors: JsonError, its message without a place.
  void run();

  virtual void on_open(bool is_object) = 0;
  virtual void on_close() = 0;
  virtual void on_key(std::string key) = 0;
  /// A string, number, bool or null.
  virtual void on_scalar(nlohmann::json value) = 0;

  /// Bytes of the current event's token, quotes and escapes as written.
  std::string_view token() const { return text_.substr(begin_, end_ - begin_); }
  /// Offset of the token in the text.
  size_t token_offset() const { return begin_; }

 private:
  using Json = nlohmann::json;

  bool null() final { return scalar(nullptr); }
  bool boolean(bool value) final { return scalar(value); }
  bool number_integer(Json::number_integer_t value) final { return scalar(value); }
  bool number_unsigned(Json::number_unsigned_t value) final { return scalar(value); }
  bool number_float(Json::number_float_t value, const std::string& digits) final;
  bool string(std::string& value) final { return scalar(std::move(value)); }
  bool binary(Json::binary_t& value) final { return scalar(std::move(value)); }
  bool start_object(size_t) final { return open(true); }
  bool start_array(size_t) final { return open(false); }
  bool key(std::string& key) final;
  bool end_object() final { return close(); }
  bool end_array() final { return close(); }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& error) final;

  bool scalar(Json value);
  bool open(bool is_object);
  bool close();
  void next_token();

  std::string_view text_;
  size_t begin_ = 0;
  size_t end_ = 0;
  size_t depth_ = 0;
};

}  // namespace layalign::configs
