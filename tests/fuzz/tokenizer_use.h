#pragma once

#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "data/error.h"
#include "data/tokenizer.h"
#include "data/utf8.h"
#include "tests/fuzz/fuzz_input.h"

namespace layalign::fuzz {

/// Scripts, white space, numbers, marks that combine, a special token: what the steps of a tokenizer look at.
inline constexpr std::string_view kSampleText =
    "Roger has  5 tennis balls, he's 1234.5\n\n\tก็ ভাই e\u0301\u0302 Ａﬁ 中文 👩‍👩‍👧 </s><s> <unk> "
    "\u2581x\u00a0 "
    "don't";

/// Text through a tokenizer and back: what comes out is what it promises.
inline void use(const data::Tokenizer& tokenizer, std::string_view text) {
  std::vector<int64_t> ids;
  if (!accepts<data::DataError>([&] { ids = tokenizer.encode(text); })) return;
  require(!data::first_invalid_utf8(text), "a text that is not UTF-8 is refused");
  for (const int64_t id : ids) require(id >= 0 && id < tokenizer.vocabulary_size(), "ids lie in the vocabulary");
  require(tokenizer.eos_id() >= 0 && tokenizer.eos_id() < tokenizer.vocabulary_size(), "so does that of the end");
  std::vector<int64_t> all(64);
  std::iota(all.begin(), all.end(), -1);
  ids.insert(ids.end(), all.begin(), all.end());
  accepts<data::DataError>([&] { tokenizer.decode(ids); });
  accepts<data::DataError>([&] { tokenizer.frame("Swahili"); });
  accepts<data::DataError>([&] { tokenizer.frame("unknown"); });
}

}  // namespace layalign::fuzz
