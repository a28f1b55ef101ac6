#pragma once

#include <string>
#include <string_view>

namespace layalign::data {

/// Unicode's normalisation forms.
enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };

/// A well-formed text in a normalisation form, by the tables of Unicode 9.0, which the Hugging Face tokenizers use;
/// younger characters stay as they are.
std::string normalize_unicode(std::string_view text, UnicodeForm form);

/// Lower case of a character by itself, appended to `out`.
void append_lowercase(char32_t character, std::string& out);

bool is_number(char32_t character);          ///< general category N
bool is_word_character(char32_t character);  ///< \w of regular expressions: letters, marks, digits, connectors
bool is_combining_mark(char32_t character);  ///< general category M in Unicode 9.0

// What BERT's components ask, by the tables of Unicode 8.0 that the Hugging Face tokenizers use for it.
bool is_punctuation(char32_t character);      ///< general category P, or ASCII punctuation
bool is_nonspacing_mark(char32_t character);  ///< general category Mn
bool is_control(char32_t character);          ///< general category C, but not unassigned

}  // namespace layalign::data
