#include "data/normalizers.h"

#include <optional>
#include <utility>

#include "data/charsmap.h"
#include "data/error.h"
#include "data/text_space.h"
#include "data/utf8.h"

namespace layalign::data {
namespace {

/// A normalizer that is a function.
template <typename Function>
class FunctionNormalizer : public Normalizer {
 public:
  explicit FunctionNormalizer(Function function) : function_(std::move(function)) {}
  std::string normalize(std::string_view text) const override { return function_(text); }

 private:
  Function function_;
};

template <typename Function>
std::unique_ptr<const Normalizer> normalizer_from(Function function) {
  return std::make_unique<FunctionNormalizer<Function>>(std::move(function));
}

// Calls visit(character, its bytes).
template <typename Visit>
void for_each_character(std::string_view text, Visit&& visit) {
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8_length(text, i);
    visit(code_point_at(text, i), text.substr(i, length));
    i += length;
  }
}

template <typename Keep>
std::string filter(std::string_view text, Keep&& keep) {
  std::string out;
  for_each_character(text, [&](char32_t character, std::string_view bytes) {
    if (keep(character)) out += bytes;
  });
  return out;
}

std::string lowercase(std::string_view text) {
  std::string out;
  for_each_character(text, [&](char32_t character, std::string_view) { append_lowercase(character, out); });
  return out;
}

// Whether a text begins inside a character.
bool first_byte_continues(std::string_view text) {
  return !text.empty() && (static_cast<uint8_t>(text.front()) & 0xC0) == 0x80;
}

bool is_ideograph(char32_t c) {
  constexpr std::pair<char32_t, char32_t> kRanges[] = {{0x4E00, 0x9FFF},   {0x3400, 0x4DBF},   {0x20000, 0x2A6DF},
                                                       {0x2A700, 0x2B73F}, {0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF},
                                                       {0xF900, 0xFAFF},   {0x2F800, 0x2FA1F}};
  for (const auto& [first, last] : kRanges) {
    if (c >= first && c <= last) return true;
  }
  return false;
}

std::string clean(std::string_view text) {
  std::string out;
  for_each_character(text, [&](char32_t c, std::string_view bytes) {
    const bool is_line_space = c == '\t' || c == '\n' || c == '\r';
    if (c == 0 || c == 0xFFFD || (!is_line_space && is_control(c))) return;
    out += is_white_space(c) ? std::string_view(" ") : bytes;
  });
  return out;
}

std::string space_ideographs(std::string_view text) {
  std::string out;
  for_each_character(text, [&](char32_t character, std::string_view bytes) {
    const bool is_word = is_ideograph(character);
    if (is_word) out += ' ';
    out += bytes;
    if (is_word) out += ' ';
  });
  return out;
}

// A text after a model's rules; spaces that follow a space, or nothing, are left out where `single_spaces`.
std::string apply_rules(const std::optional<Charsmap>& rules, bool single_spaces, std::string_view text) {
  std::string out;
  bool is_after_space = single_spaces;
  while (!text.empty()) {
    const size_t length = utf8_length(text, 0);
    const auto rule = rules ? rules->longest_rule(text) : std::nullopt;
    std::string_view part = rule ? rule->replacement : text.substr(0, length);
    while (is_after_space && part.starts_with(' ')) part.remove_prefix(1);
    if (!part.empty()) is_after_space = single_spaces && part.ends_with(' ');
    out += part;
    text.remove_prefix(rule ? rule->bytes : length);
    if (first_byte_continues(text)) throw DataError("a rule of precompiled_charsmap ends inside a character");
  }
  return out;
}

std::string strip(std::string_view text, bool left, bool right) {
  size_t begin = 0;
  while (left && begin < text.size() && is_white_space(code_point_at(text, begin))) begin += utf8_length(text, begin);
  size_t end = begin;  // behind the last character that stays
  for (size_t i = begin; i < text.size();) {
    const bool stays = !right || !is_white_space(code_point_at(text, i));
    i += utf8_length(text, i);
    if (stays) end = i;
  }
  return std::string(text.substr(begin, end - begin));
}

}  // namespace

std::string normalize(const Normalizers& steps, std::string_view text) {
  std::string out(text);
  for (const auto& step : steps) out = step->normalize(out);
  return out;
}

std::unique_ptr<const Normalizer> precompiled_normalizer(std::string_view rules) {
  return normalizer_from([charsmap = Charsmap(rules)](std::string_view text) { return charsmap.normalize(text); });
}

std::unique_ptr<const Normalizer> sentencepiece_normalizer(const SentencePieceModel& model) {
  std::optional<Charsmap> rules;
  if (!model.charsmap.empty()) rules.emplace(model.charsmap);
  return normalizer_from([rules = std::move(rules), space_first = model.space_first,
                          single_spaces = model.single_spaces](std::string_view text) {
    if (text.empty()) return std::string();
    const std::string_view first = space_first ? kSpaceMark : "";
    std::string out = std::string(first) + replace_all(apply_rules(rules, single_spaces, text), " ", kSpaceMark);
    while (single_spaces && out.ends_with(kSpaceMark)) out.resize(out.size() - kSpaceMark.size());
    return out;
  });
}

std::unique_ptr<const Normalizer> unicode_normalizer(UnicodeForm form) {
  return normalizer_from([form](std::string_view text) { return normalize_unicode(text, form); });
}

std::unique_ptr<const Normalizer> replace_normalizer(Pattern pattern, std::string content) {
  return normalizer_from([pattern = std::move(pattern), content = std::move(content)](std::string_view text) {
    return replace_matches(pattern, text, content);
  });
}

std::unique_ptr<const Normalizer> strip_normalizer(bool left, bool right) {
  return normalizer_from([left, right](std::string_view text) { return strip(text, left, right); });
}

std::unique_ptr<const Normalizer> prepend_normalizer(std::string content) {
  return normalizer_from([content = std::move(content)](std::string_view text) {
    return text.empty() ? std::string() : content + std::string(text);
  });
}

std::unique_ptr<const Normalizer> lowercase_normalizer() { return normalizer_from(lowercase); }

std::unique_ptr<const Normalizer> strip_accents_normalizer() {
  return normalizer_from([](std::string_view text) {
    return filter(text, [](char32_t character) { return !is_combining_mark(character); });
  });
}

std::unique_ptr<const Normalizer> bert_normalizer(const BertRules& rules) {
  return normalizer_from([rules](std::string_view text) {
    std::string out(text);
    if (rules.clean_text) out = clean(out);
    if (rules.handle_chinese_chars) out = space_ideographs(out);
    if (rules.strip_accents) {
      out = filter(normalize_unicode(out, UnicodeForm::kNfd), [](char32_t c) { return !is_nonspacing_mark(c); });
    }
    if (rules.lowercase) out = lowercase(out);
    return out;
  });
}

}  // namespace layalign::data
