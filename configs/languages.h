#pragma once

#include <array>
#include <optional>
#include <string_view>

namespace layalign::configs {

/// A language as configs and corpora name it, and its two-letter code in file names.
struct Language {
  std::string_view name;
  std::string_view code;
};

/// Every language of the public data.
inline constexpr std::array<Language, 28> kLanguages{{
    {"English", "en"},    {"Swahili", "sw"},  {"Chinese", "zh"},    {"Bengali", "bn"},    {"German", "de"},
    {"Spanish", "es"},    {"French", "fr"},   {"Japanese", "ja"},   {"Russian", "ru"},    {"Thai", "th"},
    {"Telugu", "te"},     {"Greek", "el"},    {"Arabic", "ar"},     {"Bulgarian", "bg"},  {"Croatian", "hr"},
    {"Hungarian", "hu"},  {"Italian", "it"},  {"Lithuanian", "lt"}, {"Macedonian", "mk"}, {"Polish", "pl"},
    {"Portuguese", "pt"}, {"Albanian", "sq"}, {"Serbian", "sr"},    {"Turkish", "tr"},    {"Vietnamese", "vi"},
    {"Hindi", "hi"},      {"Flemish", "nl"},  {"Urdu", "ur"},
}};

/// The code of a language by its name ("Bengali" -> "bn"); nothing where the name is not in kLanguages.
constexpr std::optional<std::string_view> language_code(std::string_view name) {
  for (const Language& language : kLanguages) {
    if (language.name == name) return language.code;
  }
  return std::nullopt;
}

}  // namespace layalign::configs
