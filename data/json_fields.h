#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "data/error.h"

namespace layalign::data {

/// An object of a JSON file, read field by field; messages name the file and the place in it. The JSON value must
/// outlive it. A field that is null counts as absent.
class JsonFields {
 public:
  /// `where`: the file, then the place of the object in it. Errors: DataError where it is no object.
  JsonFields(const nlohmann::json& object, std::string where);

  bool has(const std::string& key) const;
  /// Errors: DataError where the field is absent; so do the others without a default.
  const nlohmann::json& value(const std::string& key);
  const nlohmann::json& list(const std::string& key);
  std::string text(const std::string& key);
  std::string text_or(const std::string& key, const std::string& otherwise);
  bool flag(const std::string& key);
  bool flag_or(const std::string& key, bool otherwise);
  /// A number from 0 to 2^31 - 1.
  int64_t count(const std::string& key);
  int64_t count_or(const std::string& key, int64_t otherwise);
  JsonFields object(const std::string& key);
  std::vector<JsonFields> objects(const std::string& key);

  /// A field that is known and means nothing here.
  void skip(const std::string& key) { read_.insert(key); }
  /// Errors: DataError with the fields that nobody asked for.
  void finish() const;

  [[noreturn]] void fail(const std::string& key, const std::string& problem) const;
  /// What `make` makes; a DataError of it becomes one that names the field.
  template <typename Make>
  auto checked(const std::string& key, Make&& make) const {
    try {
      return make();
    } catch (const DataError& error) {
      fail(key, error.what());
    }
  }

 private:
  const nlohmann::json* object_;
  std::string where_;
  std::set<std::string> read_;
};

}  // namespace layalign::data
