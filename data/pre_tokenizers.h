#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/pattern.h"

namespace layalign::data {

/// A part of a normalised text that the model will see by itself.
struct Word {
  std::string text;
  bool at_begin = false;  ///< nothing of the whole text comes before it
};

/// A step that cuts words into smaller ones, or rewrites them. Named as in tokenizer.json. Threads: immutable.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// Appends what a word becomes; no empty words.
  virtual void split(Word word, std::vector<Word>& words) const = 0;
};

/// The steps of a tokenizer, in order.
using PreTokenizers = std::vector<std::unique_ptr<const PreTokenizer>>;

/// Where a word gets the mark of a space in front that it does not have.
enum class PrefixSpace {
  kNever,
  kFirst,   ///< at the begin of the whole text
  kAlways,  ///< everywhere
  kDoubled  ///< everywhere, also before a space that is there: SentencePiece's own rule
};

/// Spaces become U+2581; with `split` each begins a word.
std::unique_ptr<const PreTokenizer> metaspace_pre_tokenizer(std::string mark, PrefixSpace prefix, bool split);
/// Bytes become visible characters (byte_level.h), after a cut by GPT-2's expression where `use_regex`.
std::unique_ptr<const PreTokenizer> byte_level_pre_tokenizer(bool add_prefix_space, bool use_regex);
/// `invert`: what lies between the matches is what counts.
std::unique_ptr<const PreTokenizer> split_pre_tokenizer(Pattern pattern, CutRule rule, bool invert);
std::unique_ptr<const PreTokenizer> digits_pre_tokenizer(bool individual_digits);
std::unique_ptr<const PreTokenizer> punctuation_pre_tokenizer(CutRule rule);
/// Words are what stands between white space.
std::unique_ptr<const PreTokenizer> white_space_split_pre_tokenizer();
/// Words are runs of word characters and runs of others that are not white space.
std::unique_ptr<const PreTokenizer> white_space_pre_tokenizer();
/// Words are what stands between white space and punctuation, and each punctuation mark.
std::unique_ptr<const PreTokenizer> bert_pre_tokenizer();

}  // namespace layalign::data
