#pragma once

#include <string>

#include "data/text_file.h"

namespace layalign::data {

// Fields of the public benchmarks, the same in their training and their test files.
// Errors: DataError naming file, line and field.

/// The whole prompt of an X-CSQA record: its question with its options, as the encoder and the LLM read it.
std::string x_csqa_prompt_of(const JsonRecord& record);

/// The whole prompt of an XNLI record.
std::string xnli_prompt_of(const JsonRecord& record);

/// The label of an XNLI record as text: a word, or a class number.
std::string xnli_label_of(const JsonRecord& record);

}  // namespace layalign::data
