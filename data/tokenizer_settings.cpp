#include "data/tokenizer_settings.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <system_error>

#include "configs/strict_json.h"
#include "data/error.h"

namespace layalign::data {
namespace {

using nlohmann::json;
using std::filesystem::path;

constexpr int kMaxDepth = 64;

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
    if (flag("single_word", false)) fail(key, "single_word is not supported");
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

void read_extra_tokens(const SettingsFile& file, TokenizerSettings& settings) {
  for (const char* key : {"extra_special_tokens", "additional_special_tokens"}) {
    const json* value = file.find(key);
    if (value == nullptr) continue;
    if (!settings.extra_tokens) settings.extra_tokens.emplace();
    if (!settings.extra_tokens->empty() || value->is_null()) continue;
    if (!value->is_structured()) file.fail(key, "expected a list of tokens");
    for (const json& token : *value) settings.extra_tokens->push_back(file.token(token, key, true));
  }
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
    if (const auto map = open_settings(folder / "special_tokens_map.json")) read_named_tokens(*map, settings);
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
    config->read("extra_ids", settings.extra_ids);
    if (settings.extra_ids < 0) config->fail("extra_ids", "expected 0 or more");
    read_named_tokens(*config, settings);
    read_extra_tokens(*config, settings);
  }
  read_declared_tokens(model_folder, config, settings);
  return settings;
}

}  // namespace layalign::data
