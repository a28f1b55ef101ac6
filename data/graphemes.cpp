#include "data/graphemes.h"

#include <algorithm>
#include <iterator>

#include "data/utf8.h"

namespace layalign::data {
namespace {

// Role of a character in UAX 29. kLinker is an Extend that joins Indic consonants, kConsonant one of those.
enum Role {
  kOther,
  kCr,
  kLf,
  kControl,
  kExtend,
  kLinker,
  kZwj,
  kSpacingMark,
  kPrepend,
  kRegional,
  kPictograph,
  kConsonant,
  kHangulL,
  kHangulV,
  kHangulT,
  kHangulLv,
  kHangulLvt
};

struct Range {
  char32_t first, last;
  Role role;
};

constexpr Range kRanges[] = {
#include "data/grapheme_ranges.inc"
};

Role role_of(char32_t c) {
  if (c >= 0x20 && c < 0x7F) return kOther;
  if (c == '\r') return kCr;
  if (c == '\n') return kLf;
  if (c >= 0xAC00 && c <= 0xD7A3) return (c - 0xAC00) % 28 == 0 ? kHangulLv : kHangulLvt;
  const Range* range = std::lower_bound(std::begin(kRanges), std::end(kRanges), c,
                                        [](const Range& r, char32_t value) { return r.last < value; });
  return range != std::end(kRanges) && range->first <= c ? range->role : kOther;
}

bool is_control_role(Role role) { return role == kCr || role == kLf || role == kControl; }
bool is_extend(Role role) { return role == kExtend || role == kLinker || role == kZwj; }

bool joins_hangul(Role left, Role right) {
  switch (left) {
    case kHangulL:
      return right == kHangulL || right == kHangulV || right == kHangulLv || right == kHangulLvt;
    case kHangulLv:
    case kHangulV:
      return right == kHangulV || right == kHangulT;
    case kHangulLvt:
    case kHangulT:
      return right == kHangulT;
    default:
      return false;
  }
}

// What the cluster so far says about the next character.
struct Cluster {
  Role last;
  bool pictograph;  // a pictograph and only Extend after it (before the last character)
  bool conjunct;    // an Indic consonant and only Extend after it
  bool linked;      // with a linker among them
  int regionals;

  explicit Cluster(Role role) : last(role), pictograph(false), conjunct(false), linked(false), regionals(0) {
    start(role);
  }

  void add(Role role) {
    if (is_extend(role)) {
      linked = linked || (conjunct && role == kLinker);
    } else {
      start(role);
    }
    last = role;
  }

  bool takes(Role next) const {
    if (last == kCr && next == kLf) return true;
    if (is_control_role(last) || is_control_role(next)) return false;
    if (is_extend(next) || next == kSpacingMark || last == kPrepend) return true;
    if (linked && next == kConsonant) return true;
    if (pictograph && last == kZwj && next == kPictograph) return true;
    if (last == kRegional && next == kRegional) return regionals % 2 == 1;
    return joins_hangul(last, next);
  }

 private:
  void start(Role role) {
    pictograph = role == kPictograph;
    conjunct = role == kConsonant;
    linked = false;
    regionals = role == kRegional ? regionals + 1 : 0;
  }
};

}  // namespace

size_t grapheme_end(std::string_view text, size_t begin) {
  size_t end = begin + utf8_length(text, begin);
  Cluster cluster(role_of(code_point_at(text, begin)));
  while (end < text.size()) {
    const Role next = role_of(code_point_at(text, end));
    if (!cluster.takes(next)) break;
    cluster.add(next);
    end += utf8_length(text, end);
  }
  return end;
}

}  // namespace layalign::data
