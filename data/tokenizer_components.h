#pragma once

#include "data/decoders.h"
#include "data/json_fields.h"
#include "data/normalizers.h"
#include "data/pre_tokenizers.h"

namespace layalign::data {

/// Components of tokenizer.json, chosen by their "type"; a Sequence gives several. README.md has the list.
/// Errors: DataError with file and place for a type that is not there, an unknown field, or a wrong value.
void read_normalizer(JsonFields fields, Normalizers& steps);
void read_pre_tokenizer(JsonFields fields, PreTokenizers& steps);
void read_decoder(JsonFields fields, Decoders& steps);

}  // namespace layalign::data
