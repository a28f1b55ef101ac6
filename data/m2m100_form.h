#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "data/pipeline_tokenizer.h"
#include "data/sentencepiece_model.h"
#include "data/tokenizer_settings.h"

namespace layalign::data {

/// M2M100's file of pieces and their ids, beside its SentencePiece model.
inline constexpr const char* kVocabularyFile = "vocab.json";

/// The token of a language by its code in M2M100 models: "sw" -> "__sw__".
std::string m2m100_language_token(std::string_view code);

/// Makes M2M100's tokenizer: the pieces of the model get their ids from the folder's vocab.json, or that of the unknown
/// token; behind these ids come the languages, in the order of the settings' language_codes.
/// Errors: DataError where vocab.json is missing or broken, where the model or the settings say what this form cannot
/// do, or where an added token would get an id that is a language's.
TokenizerParts m2m100_parts(const std::filesystem::path& folder, const SentencePieceModel& model,
                            TokenizerSettings settings);

}  // namespace layalign::data
