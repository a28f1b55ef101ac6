#include "data/unicode.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/uniset.h>

#include "data/error.h"
#include "data/utf8.h"

namespace layalign::data {
namespace {

void check(UErrorCode code) {
  if (U_FAILURE(code)) throw DataError(std::string("Unicode normalisation failed: ") + u_errorName(code));
}

// The characters of a version of Unicode.
icu::UnicodeSet characters_of_unicode(const char* version) {
  UErrorCode code = U_ZERO_ERROR;
  icu::UnicodeSet set(icu::UnicodeString("[:age=", -1, US_INV) + icu::UnicodeString(version, -1, US_INV) + ":]", code);
  check(code);
  set.freeze();
  return set;
}

const icu::UnicodeSet& unicode_8() {
  static const icu::UnicodeSet set = characters_of_unicode("8.0");
  return set;
}

const icu::UnicodeSet& unicode_9() {
  static const icu::UnicodeSet set = characters_of_unicode("9.0");
  return set;
}

const icu::Normalizer2& whole_normalizer(UnicodeForm form) {
  UErrorCode code = U_ZERO_ERROR;
  const icu::Normalizer2* found = nullptr;
  switch (form) {
    case UnicodeForm::kNfc:
      found = icu::Normalizer2::getNFCInstance(code);
      break;
    case UnicodeForm::kNfd:
      found = icu::Normalizer2::getNFDInstance(code);
      break;
    case UnicodeForm::kNfkc:
      found = icu::Normalizer2::getNFKCInstance(code);
      break;
    case UnicodeForm::kNfkd:
      found = icu::Normalizer2::getNFKDInstance(code);
      break;
  }
  check(code);
  return *found;
}

bool in_category(char32_t character, uint32_t mask) {
  return (U_GET_GC_MASK(static_cast<UChar32>(character)) & mask) != 0;
}

bool in_category(char32_t character, uint32_t mask, const icu::UnicodeSet& version) {
  return in_category(character, mask) && version.contains(static_cast<UChar32>(character));
}

}  // namespace

std::string normalize_unicode(std::string_view text, UnicodeForm form) {
  const icu::FilteredNormalizer2 normalizer(whole_normalizer(form), unicode_9());
  std::string out;
  icu::StringByteSink<std::string> sink(&out);
  UErrorCode code = U_ZERO_ERROR;
  normalizer.normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())), sink, nullptr, code);
  check(code);
  return out;
}

void append_lowercase(char32_t character, std::string& out) {
  constexpr char32_t kCapitalIWithDot = 0x130;  // the one character whose lower case is two
  if (character == kCapitalIWithDot) {
    out += "i\u0307";
  } else {
    append_utf8(static_cast<char32_t>(u_tolower(static_cast<UChar32>(character))), out);
  }
}

bool is_number(char32_t character) { return in_category(character, U_GC_N_MASK); }

bool is_word_character(char32_t character) {
  const auto c = static_cast<UChar32>(character);
  return u_hasBinaryProperty(c, UCHAR_ALPHABETIC) || u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL) ||
         in_category(character, U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK);
}

// The characters named below are of another category today than in the version that counts.

bool is_combining_mark(char32_t c) {
  if (c == 0x1CF2 || c == 0x1CF3) return true;
  return c != 0x111C9 && in_category(c, U_GC_M_MASK, unicode_9());
}

bool is_punctuation(char32_t c) {
  const bool is_ascii =
      (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
  return is_ascii || c == 0x166D || c == 0x111C9 || in_category(c, U_GC_P_MASK, unicode_8());
}

bool is_nonspacing_mark(char32_t c) {
  if (c == 0x1885 || c == 0x1886 || c == 0xA9BD || c == 0x111C9) return false;
  return c == 0x1734 || in_category(c, U_GC_MN_MASK, unicode_8());
}

bool is_control(char32_t character) {
  return in_category(character, U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK, unicode_8());
}

}  // namespace layalign::data
