#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "data/added_tokens.h"

namespace layalign::data {

/// What the JSON files beside a SentencePiece model say: tokenizer_config.json and, where that has no
/// added_tokens_decoder, special_tokens_map.json, added_tokens.json and the added tokens of tokenizer.json.
struct TokenizerSettings {
  std::string tokenizer_class;  ///< empty: not said
  bool legacy = false;  ///< Llama: every stretch of text gets a leading space, also one that begins with a space
  bool add_prefix_space = true;             ///< Llama
  int64_t extra_ids = 100;                  ///< T5: <extra_id_0> and so on, from the end of the vocabulary downwards
  std::vector<AddedToken> declared_tokens;  ///< those with a declared id, by that id
  std::map<std::string, std::optional<AddedToken>>
      named_tokens;                                     ///< those that are said, by key; none: said to be absent
  std::optional<std::vector<AddedToken>> extra_tokens;  ///< none: not said
};

/// The settings' keys of tokens with a role, in the order in which they are added.
inline constexpr const char* kNamedTokens[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                               "pad_token", "cls_token", "mask_token"};

/// Errors: DataError with path and key.
TokenizerSettings read_tokenizer_settings(const std::filesystem::path& model_folder);

}  // namespace layalign::data
