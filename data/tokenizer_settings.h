#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "data/added_tokens.h"
#include "data/token_vocabulary.h"

namespace layalign::data {

/// What the JSON files around a tokenizer's vocabulary say: tokenizer_config.json and, where that has no
/// added_tokens_decoder, special_tokens_map.json, added_tokens.json and the added tokens of tokenizer.json.
struct TokenizerSettings {
  std::string tokenizer_class;  ///< empty: not said
  std::string model_type;       ///< of the model's config.json; empty: not said
  bool legacy = false;  ///< Llama: every stretch of text gets a leading space, also one that begins with a space
  bool add_prefix_space = true;             ///< not of T5 and NLLB
  std::optional<bool> add_bos_token;        ///< around an encoder's text; none: not said
  std::optional<bool> add_eos_token;        ///< the same
  std::optional<std::string> src_lang;      ///< NLLB, M2M100: the language of a text of unknown language; none: English
  bool legacy_behaviour = false;            ///< NLLB: the language code stands behind the text, after eos
  std::string language_codes = "m2m100";    ///< M2M100: which list of languages the ids follow
  bool has_sampling_options = false;        ///< sp_model_kwargs says something
  int64_t extra_ids = 100;                  ///< T5: <extra_id_0> and so on, from the end of the vocabulary downwards
  std::vector<AddedToken> declared_tokens;  ///< those with a declared id, by that id
  std::map<std::string, std::optional<AddedToken>>
      named_tokens;                                     ///< those that are said, by key; none: said to be absent
  std::optional<std::vector<AddedToken>> extra_tokens;  ///< none: not said
  std::vector<AddedToken> map_extra_tokens;             ///< those of special_tokens_map.json
};

/// The settings' keys of tokens with a role, in the order in which they are added.
inline constexpr const char* kNamedTokens[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                               "pad_token", "cls_token", "mask_token"};

/// Errors: DataError with path and key.
TokenizerSettings read_tokenizer_settings(const std::filesystem::path& model_folder);

/// The tokens to add to a vocabulary, in the order that decides their ids: declared ones, then those with a role, then
/// `extra_tokens`. A declared one is never replaced.
std::vector<AddedToken> tokens_to_add(const TokenizerSettings& settings, const std::vector<AddedToken>& extra_tokens);

/// Errors: DataError where no eos_token is named, or the vocabulary lacks it.
int64_t eos_id(const TokenizerSettings& settings, const TokenVocabulary& vocabulary);

}  // namespace layalign::data
