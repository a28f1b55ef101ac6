#pragma once

#include <array>
#include <optional>
#include <string_view>

namespace layalign::configs {

/// A language as configs and corpora name it, its two-letter code in file names and M2M100 models, and its
/// code in NLLB models.
struct Language {
  std::string_view name;
  std::string_view code;
  std::string_view nllb_code;
};

/// Every language of the public data.
inline constexpr std::array<Language, 28> kLanguages{{
    {"English", "en", "eng_Latn"},    {"Swahili", "sw", "swh_Latn"},   {"Chinese", "zh", "zho_Hans"},
    {"Bengali", "bn", "ben_Beng"},    {"German", "de", "deu_Latn"},    {"Spanish", "es", "spa_Latn"},
    {"French", "fr", "fra_Latn"},     {"Japanese", "ja", "jpn_Jpan"},  {"Russian", "ru", "rus_Cyrl"},
    {"Thai", "th", "tha_Thai"},       {"Telugu", "te", "tel_Telu"},    {"Greek", "el", "ell_Grek"},
    {"Arabic", "ar", "arb_Arab"},     {"Bulgarian", "bg", "bul_Cyrl"}, {"Croatian", "hr", "hrv_Latn"},
    {"Hungarian", "hu", "hun_Latn"},  {"Italian", "it", "ita_Latn"},   {"Lithuanian", "lt", "lit_Latn"},
    {"Macedonian", "mk", "mkd_Cyrl"}, {"Polish", "pl", "pol_Latn"},    {"Portuguese", "pt", "por_Latn"},
    {"Albanian", "sq", "als_Latn"},   {"Serbian", "sr", "srp_Cyrl"},   {"Turkish", "tr", "tur_Latn"},
    {"Vietnamese", "vi", "vie_Latn"}, {"Hindi", "hi", "hin_Deva"},     {"Flemish", "nl", "nld_Latn"},
    {"Urdu", "ur", "urd_Arab"},
}};

/// The code of a language by its name ("Bengali" -> "bn"); nothing where the name is not in kLanguages.
constexpr std::optional<std::string_view> language_code(std::string_view name) {
  for (const Language& language : kLanguages) {
    if (language.name == name) return language.code;
  }
  return std::nullopt;
}

/// The NLLB code of a language by its name ("Bengali" -> "ben_Beng"); nothing where the name is not in kLanguages.
constexpr std::optional<std::string_view> nllb_language_code(std::string_view name) {
  for (const Language& language : kLanguages) {
    if (language.name == name) return language.nllb_code;
  }
  return std::nullopt;
}

}  // namespace layalign::configs
