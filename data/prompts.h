#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace layalign::data {

/// The strings that the paper's models were trained on, to the letter.
std::string math_prompt(std::string_view query);
/// `source_language` and `target_language` by name, such as Bengali and English.
std::string translation_prompt(std::string_view query, std::string_view source_language, std::string_view target_language);
/// Options are lettered A, B, C, ... by their place.
std::string x_csqa_prompt(std::string_view stem, const std::vector<std::string>& options);
std::string xnli_prompt(std::string_view premise, std::string_view hypothesis);

}  // namespace layalign::data
