#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "data/open_dataset.h"
#include "data/sample.h"
#include "data/text_file.h"

namespace layalign::data {

/// The language of samples of ids.
inline constexpr const char* kTokenIdLanguage = "none";

/// A field that is an array of token ids below `vocabulary_size`. Errors: DataError naming file, line, field and id.
std::vector<int64_t> token_ids(const JsonRecord& record, const char* key, int64_t vocabulary_size);

/// A training sample of a record {"source": [ids], "prompt": [ids], "target": [ids]}, within the stage's limits.
/// Errors: DataError naming file, line and field.
Sample token_id_sample(const JsonRecord& record, const configs::StageConfig& stage, const Vocabulary& vocabulary);

/// Reads what is to be continued from a JSONL file, a line {"source": [ids], "prompt": [ids]} each (no prompt: empty; other
/// fields are ignored), in the order of the file.
/// Errors: DataError with file and line; where there is no line.
std::vector<Sample> read_token_id_prompts(const std::filesystem::path& path, const Vocabulary& vocabulary);

}  // namespace layalign::data
