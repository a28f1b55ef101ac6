#pragma once

#include <filesystem>

#include "data/pipeline_tokenizer.h"
#include "data/tokenizer_settings.h"

namespace layalign::data {

/// Makes a tokenizer of a folder's tokenizer.json, as the Hugging Face library does; README.md has what can be read.
/// `settings`: of the same folder. Errors: DataError with file and place.
TokenizerParts tokenizer_json_parts(const std::filesystem::path& folder, const TokenizerSettings& settings);

}  // namespace layalign::data
