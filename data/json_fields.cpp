#include "data/json_fields.h"

#include <limits>

namespace layalign::data {

using nlohmann::json;

JsonFields::JsonFields(const json& object, std::string where) : object_(&object), where_(std::move(where)) {
  if (!object.is_object()) throw DataError(where_ + ": expected an object, got " + object.type_name());
}

bool JsonFields::has(const std::string& key) const {
  const auto found = object_->find(key);
  return found != object_->end() && !found->is_null();
}

const json& JsonFields::value(const std::string& key) {
  if (!has(key)) fail(key, "is missing");
  read_.insert(key);
  return object_->at(key);
}

const json& JsonFields::list(const std::string& key) {
  const json& found = value(key);
  if (!found.is_array()) fail(key, std::string("expected a list, got ") + found.type_name());
  return found;
}

std::string JsonFields::text(const std::string& key) {
  const json& found = value(key);
  if (!found.is_string()) fail(key, std::string("expected a text, got ") + found.type_name());
  return found.get<std::string>();
}

std::string JsonFields::text_or(const std::string& key, const std::string& otherwise) {
  skip(key);
  return has(key) ? text(key) : otherwise;
}

bool JsonFields::flag(const std::string& key) {
  const json& found = value(key);
  if (!found.is_boolean()) fail(key, std::string("expected true or false, got ") + found.type_name());
  return found.get<bool>();
}

bool JsonFields::flag_or(const std::string& key, bool otherwise) {
  skip(key);
  return has(key) ? flag(key) : otherwise;
}

int64_t JsonFields::count(const std::string& key) {
  const json& found = value(key);
  if (!found.is_number_integer() || found < 0 || found > std::numeric_limits<int32_t>::max()) {
    fail(key, "expected a whole number from 0 to 2147483647");
  }
  return found.get<int64_t>();
}

int64_t JsonFields::count_or(const std::string& key, int64_t otherwise) {
  skip(key);
  return has(key) ? count(key) : otherwise;
}

JsonFields JsonFields::object(const std::string& key) { return {value(key), where_ + "." + key}; }

std::vector<JsonFields> JsonFields::objects(const std::string& key) {
  std::vector<JsonFields> found;
  for (const json& item : list(key)) {
    found.emplace_back(item, where_ + "." + key + "[" + std::to_string(found.size()) + "]");
  }
  return found;
}

void JsonFields::finish() const {
  for (const auto& [key, value] : object_->items()) {
    if (!read_.contains(key)) fail(key, "is an unknown field; ids could differ from what was meant");
  }
}

void JsonFields::fail(const std::string& key, const std::string& problem) const {
  throw DataError(where_ + "." + key + ": " + problem);
}

}  // namespace layalign::data
