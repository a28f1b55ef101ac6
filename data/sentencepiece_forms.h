#pragma once

#include <filesystem>
#include <string>

#include "data/pipeline_tokenizer.h"
#include "data/sentencepiece_model.h"
#include "data/tokenizer_settings.h"

namespace layalign::data {

/// How a SentencePiece model is used: its order of ids, normalisation, words, and the tokens around a text.
enum class SentencePieceForm { kT5, kLlama, kXlmRoberta, kNllb, kXglm, kM2m100 };

/// The form that a tokenizer_class of tokenizer_config.json has ("Fast" at its end or not); nothing where it is none.
std::optional<SentencePieceForm> form_of_class(std::string tokenizer_class);
/// The form of a model_type of config.json; nothing where it has none.
std::optional<SentencePieceForm> form_of_model_type(const std::string& model_type);

/// Gives the tokens with a role (eos_token) that the settings do not name the texts that the form has for them.
void set_default_tokens(SentencePieceForm form, TokenizerSettings& settings);

/// The tokens around a text, by the form. Errors: DataError where the vocabulary lacks one of them.
FrameRule frame_of(SentencePieceForm form, const TokenizerSettings& settings, const TokenVocabulary& vocabulary);

/// Makes a tokenizer of a model; of kM2m100 m2m100_parts does (m2m100_form.h). Errors: DataError where the form needs
/// another algorithm, or lacks a token.
TokenizerParts sentencepiece_parts(SentencePieceForm form, const std::filesystem::path& folder,
                                   SentencePieceModel model, TokenizerSettings settings);

}  // namespace layalign::data
