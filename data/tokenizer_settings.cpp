#include "data/tokenizer_settings.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <system_error>
#include <type_traits>
#include <unordered_set>

#include "configs/strict_json.h"
#include "data/error.h"

namespace layalign::data {
namespace {

using nlohmann::json;
using std::filesystem::path;

constexpr int kMaxDepth = 64;
constexpr int64_t kMostExtraIds = 1 << 16;  // T5 models have 100; each takes memory

// Not configs::parse_json: these files hold numbers that fit no integer type (model_max_length 1e30). `unread` is a
// top-level key whose value is not kept.
json read_object(const path& file, const std::string& unread = {}) {
  try {
    const json::parser_callback_t keep = [&](int depth, json::parse_event_t event, json& parsed) {
      if (depth > kMaxDepth) throw DataError("more than " + std::to_string(kMaxDepth) + " levels");
      return !(depth == 1 && event == json::parse_event_t::key && parsed == unread);
    };
    json object = json::parse(configs::read_text_file(file), keep);
    if (!object.is_object()) throw DataError("expected an object");
    return object;
  } catch (const json::exception& error) {
    throw DataError(file.string() + ": not JSON: " + error.what());
  } catch (const DataError& error) {
    throw DataError(file.string() + ": " + error.what());
  } catch (const std::system_error& error) {
    throw DataError(error.what());
  }
}

// Reads values of one file; messages name the file and the key.
class SettingsFile {
 public:
  SettingsFile(path file, json object) : file_(std::move(file)), object_(std::move(object)) {}

  const json* find(const std::string& key) const {
    const auto found = object_.find(key);
    return found == object_.end() ? nullptr : &*found;
  }

  template <typename T>
  void read(const std::string& key, T& value) const {
    const json* found = find(key);
    if (found == nullptr || found->is_null()) return;
    value = get<T>(*found, key);
  }
  template <typename T>
  void read(const std::string& key, std::optional<T>& value) const {
    T said{};
    read(key, said);
    const json* found = find(key);
    if (found != nullptr && !found->is_null()) value = said;
  }

  // A token is a string, or an object with its flags.
  AddedToken token(const json& value, const std::string& key, bool special) const {
    if (value.is_string()) return {.content = value.get<std::string>(), .special = special};
    if (!value.is_object()) fail(key, "expected a token (a string or an object)");
    const auto flag = [&](const char* name, bool otherwise) {
      const auto found = value.find(name);
      return found == value.end() ? otherwise : get<bool>(*found, key + "." + name);
    };
    AddedToken token;
    if (!value.contains("content")) fail(key, "has no content");
    token.content = get<std::string>(value["content"], key + ".content");
    token.special = flag("special", special);
    token.strip_left = flag("lstrip", false);
    token.strip_right = flag("rstrip", false);
    token.normalized = flag("normalized", !token.special);
    token.single_word = flag("single_word", false);
    return token;
  }

  int64_t id(const std::string& text, const std::string& key) const {
    int64_t value = -1;
    const auto end = std::from_chars(text.data(), text.data() + text.size(), value).ptr;
    if (end != text.data() + text.size() || value < 0) fail(key, "expected token ids as keys, got '" + text + "'");
    return value;
  }

  template <typename T>
  T get(const json& value, const std::string& key) const {
    // The library would cut fractions off, and has no bounds.
    constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
    if (std::is_same_v<T, int64_t> && (!value.is_number_integer() || value < 0 || value > kMost)) {
      fail(key, "expected a whole number from 0 to " + std::to_string(kMost));
    }
    try {
      return value.get<T>();
    } catch (const json::exception& error) {
      fail(key, error.what());
    }
  }

  const json& object() const { return object_; }

  [[noreturn]] void fail(const std::string& key, const std::string& problem) const {
    throw DataError(file_.string() + ": " + key + ": " + problem);
  }

 private:
  path file_;
  json object_;
};

std::optional<SettingsFile> open_settings(const path& file, const std::string& unread = {}) {
  if (!std::filesystem::exists(file)) return std::nullopt;
  return SettingsFile(file, read_object(file, unread));
}

void read_named_tokens(const SettingsFile& file, TokenizerSettings& settings) {
  for (const char* key : kNamedTokens) {
    const json* value = file.find(key);
    if (value == nullptr) continue;
    settings.named_tokens[key] = value->is_null() ? std::nullopt : std::optional(file.token(*value, key, true));
  }
}

// None: not said.
std::optional<std::vector<AddedToken>> read_extra_tokens(const SettingsFile& file) {
  std::optional<std::vector<AddedToken>> tokens;
  for (const char* key : {"extra_special_tokens", "additional_special_tokens"}) {
    const json* value = file.find(key);
    if (value == nullptr) continue;
    if (!tokens) tokens.emplace();
    if (!tokens->empty() || value->is_null()) continue;
    if (!value->is_structured()) file.fail(key, "expected a list of tokens");
    for (const json& token : *value) tokens->push_back(file.token(token, key, true));
  }
  return tokens;
}

// Tokens with their ids, as {id: token}, {content: id} or [{id, token's fields}].
void read_declared_tokens(const path& folder, const std::optional<SettingsFile>& config, TokenizerSettings& settings) {
  std::vector<AddedToken>& declared = settings.declared_tokens;
  const auto declare = [&](AddedToken token, int64_t id) {
    token.id = id;
    declared.push_back(std::move(token));
  };
  const char* const decoder = "added_tokens_decoder";
  if (config && config->find(decoder) != nullptr) {
    const json& tokens = *config->find(decoder);
    if (!tokens.is_object()) config->fail(decoder, "expected an object");
    for (const auto& [id, token] : tokens.items()) {
      declare(config->token(token, decoder, false), config->id(id, decoder));
    }
  } else {
    if (const auto map = open_settings(folder / "special_tokens_map.json")) {
      read_named_tokens(*map, settings);
      settings.map_extra_tokens = read_extra_tokens(*map).value_or(std::vector<AddedToken>{});
    }
    if (const auto added = open_settings(folder / "added_tokens.json")) {
      const auto is_special = [&](const std::string& content) {
        const auto same = [&](const AddedToken& token) { return token.content == content; };
        return (settings.extra_tokens && std::ranges::any_of(*settings.extra_tokens, same)) ||
               std::ranges::any_of(settings.named_tokens,
                                   [&](const auto& named) { return named.second && same(*named.second); });
      };
      for (const auto& [content, id] : added->object().items()) {
        const bool special = is_special(content);
        declare({.content = content, .normalized = !special, .special = special}, added->get<int64_t>(id, content));
      }
    }
    const auto whole = open_settings(folder / "tokenizer.json", "model");
    if (const json* tokens = whole ? whole->find("added_tokens") : nullptr) {
      for (const json& token : *tokens) {
        if (!token.is_object() || !token.contains("id")) whole->fail("added_tokens", "a token has no id");
        declare(whole->token(token, "added_tokens", false), whole->get<int64_t>(token["id"], "added_tokens.id"));
      }
    }
  }
  std::ranges::stable_sort(declared, {}, &AddedToken::id);
}

}  // namespace

TokenizerSettings read_tokenizer_settings(const path& model_folder) {
  TokenizerSettings settings;
  const auto config = open_settings(model_folder / "tokenizer_config.json");
  if (config) {
    config->read("tokenizer_class", settings.tokenizer_class);
    config->read("legacy", settings.legacy);
    config->read("add_prefix_space", settings.add_prefix_space);
    config->read("add_bos_token", settings.add_bos_token);
    config->read("add_eos_token", settings.add_eos_token);
    config->read("src_lang", settings.src_lang);
    config->read("legacy_behaviour", settings.legacy_behaviour);
    config->read("language_codes", settings.language_codes);
    const json* options = config->find("sp_model_kwargs");
    settings.has_sampling_options = options != nullptr && !options->empty();
    config->read("extra_ids", settings.extra_ids);
    if (settings.extra_ids > kMostExtraIds)
      config->fail("extra_ids", "expected at most " + std::to_string(kMostExtraIds));
    read_named_tokens(*config, settings);
    settings.extra_tokens = read_extra_tokens(*config);
  }
  if (const auto model = open_settings(model_folder / "config.json")) model->read("model_type", settings.model_type);
  read_declared_tokens(model_folder, config, settings);
  return settings;
}

std::vector<AddedToken> tokens_to_add(const TokenizerSettings& settings, const std::vector<AddedToken>& extra_tokens) {
  std::vector<AddedToken> tokens = settings.declared_tokens;
  std::unordered_set<std::string> declared;
  for (const AddedToken& token : tokens) declared.insert(token.content);
  const auto add = [&](const AddedToken& token) {
    if (!declared.contains(token.content)) tokens.push_back(token);
  };
  for (const char* key : kNamedTokens) {
    const auto named = settings.named_tokens.find(key);
    if (named != settings.named_tokens.end() && named->second) add(*named->second);
  }
  for (const AddedToken& token : extra_tokens) add(token);
  return tokens;
}

int64_t eos_id(const TokenizerSettings& settings, const TokenVocabulary& vocabulary) {
  const auto named = settings.named_tokens.find("eos_token");
  return vocabulary.id_of(named == settings.named_tokens.end() || !named->second ? "" : named->second->content,
                          "eos_token");
}

}  // namespace layalign::data
