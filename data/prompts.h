#pragma once

#include <span>
#include <string>
#include <string_view>

namespace layalign::data {

// The texts that the published models were trained on, to the letter.

/// A math question, as MetaMath models read it.
std::string math_prompt(std::string_view query);

/// A sentence to translate; languages by their English names.
std::string translation_prompt(std::string_view query, std::string_view source_language,
                               std::string_view target_language);

/// A multiple-choice question; the options get the letters A, B, C... in order.
std::string x_csqa_prompt(std::string_view stem, std::span<const std::string> options);

/// Whether a hypothesis follows from a premise.
std::string xnli_prompt(std::string_view premise, std::string_view hypothesis);

}  // namespace layalign::data
