#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace layalign::data {

/// A small JSON file of the cache, read strictly: an object of exactly the fields that it must have, of the format and
/// version that are known here.
/// Errors: DataError naming the file, the field and what to do; checkpoints_tools::IoError where the system does not read it.
class JsonFile {
 public:
  /// `format`: the value of the field "format". `advice`: the end of every message. `names`: the fields besides
  /// "format" and "version".
  JsonFile(std::filesystem::path path, std::string_view format, std::string advice,
           std::initializer_list<std::string_view> names);

  const nlohmann::json& fields() const { return fields_; }
  std::string text(const std::string& name) const;
  /// A number from 0 to 2^63 - 1.
  int64_t count(const std::string& name) const;
  std::vector<int64_t> counts(const std::string& name) const;

  [[noreturn]] void fail(const std::string& what) const;

 private:
  void require_fields(std::string_view format, std::initializer_list<std::string_view> names) const;
  int64_t count_of(const nlohmann::json& value, const std::string& name) const;

  std::filesystem::path path_;
  std::string advice_;
  nlohmann::json fields_;
};

/// Writes such a file, so that a crash leaves the old one or the new one. `fields` without "format" and "version".
/// Errors: checkpoints_tools::IoError.
void write_json_file(const std::filesystem::path& path, std::string_view format, nlohmann::json fields);

}  // namespace layalign::data
