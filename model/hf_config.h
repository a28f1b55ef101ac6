#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace layalign::model {

/// The token ids of a field: those of a list, or a single one; null: none. Nothing where it is none of these.
std::optional<std::vector<int64_t>> parse_token_ids(const nlohmann::json& field);

/// A Hugging Face config.json, read strictly: every field is either used, known to change nothing in a forward pass, or
/// refused by name. Reads the form of transformers 4 and that of transformers 5.
class HfConfig {
 public:
  /// Reads `folder`/config.json. Errors: ModelError naming the file; quantised models are refused.
  explicit HfConfig(const std::filesystem::path& folder);

  const std::filesystem::path& folder() const { return folder_; }
  const std::string& model_type() const { return model_type_; }

  bool has(const std::string& key) const { return fields_.contains(key); }
  /// A required positive integer.
  int64_t count(const std::string& key);
  /// A positive integer, or `fallback` where it is absent or null.
  int64_t count_or(const std::string& key, int64_t fallback);
  double number_or(const std::string& key, double fallback);
  bool flag_or(const std::string& key, bool fallback);
  std::string text_or(const std::string& key, const std::string& fallback);
  /// A token id; of a list the first. Absent or null: none.
  std::optional<int64_t> token_id(const std::string& key);
  /// The token ids of a list, or of a single id; absent or null: none.
  std::vector<int64_t> token_ids(const std::string& key);
  /// The raw value, null where absent. Marks the key as used.
  const nlohmann::json& value(const std::string& key);

  /// Refuses the model: "config.json: field 'key' is VALUE: why".
  [[noreturn]] void refuse(const std::string& key, const std::string& why) const;

  /// Marks fields that change nothing in an evaluation-mode forward pass of this architecture.
  void ignore(std::initializer_list<const char*> keys);

  /// Refuses every field with a value that was neither used nor ignored, all at once. `accepted`: fields that the user vouches for.
  void finish(const std::vector<std::string>& accepted) const;

 private:
  [[noreturn]] void wrong_type(const std::string& key, const std::string& expected) const;

  std::filesystem::path folder_;
  nlohmann::json fields_;
  std::string model_type_;
  std::set<std::string> seen_;
};

}  // namespace layalign::model
