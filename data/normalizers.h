#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/pattern.h"
#include "data/sentencepiece_model.h"
#include "data/unicode.h"

namespace layalign::data {

/// A step that rewrites a text before it is cut into words. Named as in tokenizer.json. Threads: immutable.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual std::string normalize(std::string_view text) const = 0;
};

/// The steps of a tokenizer, in order.
using Normalizers = std::vector<std::unique_ptr<const Normalizer>>;

/// `text` after all steps.
std::string normalize(const Normalizers& steps, std::string_view text);

/// What a BERT vocabulary expects.
struct BertRules {
  bool clean_text = true;            ///< no control characters, every white space a space
  bool handle_chinese_chars = true;  ///< each a word of its own
  bool strip_accents = true;
  bool lowercase = true;
};

/// `rules`: see charsmap.h. Errors: DataError where they are damaged.
std::unique_ptr<const Normalizer> precompiled_normalizer(std::string_view rules);
/// All that SentencePiece itself does to a text of this model before it cuts it: its rules, its spaces, their marks.
/// Errors: DataError where the rules are damaged.
std::unique_ptr<const Normalizer> sentencepiece_normalizer(const SentencePieceModel& model);
std::unique_ptr<const Normalizer> unicode_normalizer(UnicodeForm form);
std::unique_ptr<const Normalizer> replace_normalizer(Pattern pattern, std::string content);
/// Takes white space off the ends.
std::unique_ptr<const Normalizer> strip_normalizer(bool left, bool right);
/// Puts `content` before a text that is not empty.
std::unique_ptr<const Normalizer> prepend_normalizer(std::string content);
std::unique_ptr<const Normalizer> lowercase_normalizer();
/// Takes combining marks away.
std::unique_ptr<const Normalizer> strip_accents_normalizer();
std::unique_ptr<const Normalizer> bert_normalizer(const BertRules& rules);

}  // namespace layalign::data
