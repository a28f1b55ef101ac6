#include "data/activation_cache/json_file.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "checkpoints_tools/atomic_file.h"
#include "checkpoints_tools/error.h"
#include "configs/strict_json.h"
#include "data/activation_cache/shard_manifest.h"
#include "data/error.h"

namespace layalign::data {

using nlohmann::json;

JsonFile::JsonFile(std::filesystem::path path, std::string_view format, std::string advice,
                   std::initializer_list<std::string_view> names)
    : path_(std::move(path)), advice_(std::move(advice)) {
  constexpr uintmax_t kMaxBytes = 1 << 20;  // a hundred times what such a file holds
  try {
    if (std::filesystem::file_size(path_) > kMaxBytes) fail("is too large for a " + std::string(format));
    fields_ = configs::parse_json(configs::read_text_file(path_), path_.string());
  } catch (const configs::JsonError& error) {
    throw DataError(error.what() + ("; " + advice_));
  } catch (const std::system_error& error) {
    const std::string what = "cannot be read: " + error.code().message();
    if (says_no_file(error.code().value())) fail(what);
    throw checkpoints_tools::IoError(path_.string() + ": " + what);
  }
  require_fields(format, names);
}

void JsonFile::require_fields(std::string_view format, std::initializer_list<std::string_view> names) const {
  if (!fields_.is_object()) fail(std::string("expected an object, got ") + fields_.type_name());
  if (!fields_.contains("format") || fields_["format"] != format) {
    fail("'format' is not \"" + std::string(format) + "\"");
  }
  if (!fields_.contains("version") || fields_["version"] != kCacheVersion) {
    fail("format version " + (fields_.contains("version") ? fields_["version"].dump() : "none") +
         ", and this program reads version " + std::to_string(kCacheVersion));
  }
  for (const auto& [name, value] : fields_.items()) {
    const bool known =
        name == "format" || name == "version" || std::find(names.begin(), names.end(), name) != names.end();
    if (!known) fail("unknown field '" + name + "'");
  }
  for (std::string_view name : names) {
    if (!fields_.contains(name)) fail("the field '" + std::string(name) + "' is missing");
  }
}

void JsonFile::fail(const std::string& what) const { throw DataError(path_.string() + ": " + what + "; " + advice_); }

std::string JsonFile::text(const std::string& name) const {
  const json& value = fields_.at(name);
  if (!value.is_string()) fail("'" + name + "': expected a text, got " + value.dump());
  return value.get<std::string>();
}

int64_t JsonFile::count_of(const json& value, const std::string& name) const {
  const bool whole = value.is_number_integer() && value >= 0 && (!value.is_number_unsigned() || value <= INT64_MAX);
  if (!whole) fail("'" + name + "': expected a whole number from 0, got " + value.dump());
  return value.get<int64_t>();
}

int64_t JsonFile::count(const std::string& name) const { return count_of(fields_.at(name), name); }

std::vector<int64_t> JsonFile::counts(const std::string& name) const {
  const json& list = fields_.at(name);
  if (!list.is_array()) fail("'" + name + "': expected a list, got " + list.dump());
  std::vector<int64_t> values;
  for (const json& value : list) values.push_back(count_of(value, name));
  return values;
}

void write_json_file(const std::filesystem::path& path, std::string_view format, json fields) {
  fields["format"] = format;
  fields["version"] = kCacheVersion;
  try {
    checkpoints_tools::AtomicFile file(path);
    file.write(fields.dump(2) + "\n");
    file.commit();
  } catch (const checkpoints_tools::CheckpointError& error) {
    throw checkpoints_tools::IoError(error.what());
  }
}

}  // namespace layalign::data
