#include "data/pre_tokenizers.h"

#include <optional>
#include <utility>

#include "data/byte_level.h"
#include "data/text_space.h"
#include "data/unicode.h"
#include "data/utf8.h"

namespace layalign::data {
namespace {

constexpr const char* kGpt2Expression = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// Cuts words at what `find` finds in them.
template <typename Find>
class CuttingPreTokenizer : public PreTokenizer {
 public:
  CuttingPreTokenizer(Find find, CutRule rule) : find_(std::move(find)), rule_(rule) {}

  void split(Word word, std::vector<Word>& words) const override {
    for (const Span& part : cut(find_(word.text), rule_)) {
      words.push_back({word.text.substr(part.begin, part.end - part.begin), word.at_begin && part.begin == 0});
    }
  }

 private:
  Find find_;
  CutRule rule_;
};

template <typename Find>
std::unique_ptr<const PreTokenizer> cutting(Find find, CutRule rule) {
  return std::make_unique<CuttingPreTokenizer<Find>>(std::move(find), rule);
}

// Each character of a kind is a match.
template <typename IsMatch>
auto each_character(IsMatch is_match) {
  return [is_match](std::string_view text) {
    std::vector<Span> spans;
    for (size_t i = 0; i < text.size();) {
      const size_t end = i + utf8_length(text, i);
      const bool matches = is_match(code_point_at(text, i));
      if (!matches && !spans.empty() && !spans.back().is_match) {
        spans.back().end = end;
      } else {
        spans.push_back({i, end, matches});
      }
      i = end;
    }
    return spans;
  };
}

// Runs of characters of one class; white space is what matches.
std::vector<Span> words_and_space(std::string_view text) {
  std::vector<Span> spans;
  int previous = -1;
  for (size_t i = 0; i < text.size();) {
    const char32_t character = code_point_at(text, i);
    const size_t end = i + utf8_length(text, i);
    const int kind = is_word_character(character) ? 0 : is_white_space(character) ? 1 : 2;
    if (kind == previous) {
      spans.back().end = end;
    } else {
      spans.push_back({i, end, kind == 1});
    }
    previous = kind;
    i = end;
  }
  return spans;
}

class Metaspace : public PreTokenizer {
 public:
  Metaspace(std::string mark, PrefixSpace prefix, bool split)
      : mark_(std::move(mark)), pattern_(Pattern::literal(mark_)), prefix_(prefix), split_(split) {}

  void split(Word word, std::vector<Word>& words) const override {
    std::string text = replace_all(word.text, " ", mark_);
    const bool wanted = prefix_ == PrefixSpace::kAlways || (prefix_ == PrefixSpace::kFirst && word.at_begin);
    if (prefix_ == PrefixSpace::kDoubled || (wanted && !text.starts_with(mark_))) text.insert(0, mark_);
    if (!split_) {
      words.push_back({std::move(text), word.at_begin});
      return;
    }
    for (const Span& part : cut(pattern_.spans(text), CutRule::kMergedWithNext)) {
      words.push_back({text.substr(part.begin, part.end - part.begin), word.at_begin && part.begin == 0});
    }
  }

 private:
  std::string mark_;
  Pattern pattern_;
  PrefixSpace prefix_;
  bool split_;
};

class ByteLevel : public PreTokenizer {
 public:
  ByteLevel(bool add_prefix_space, bool use_regex) : add_prefix_space_(add_prefix_space) {
    if (use_regex) pattern_.emplace(Pattern::regex(kGpt2Expression));
  }

  void split(Word word, std::vector<Word>& words) const override {
    if (add_prefix_space_ && !word.text.starts_with(' ')) word.text.insert(0, " ");
    const std::vector<Span> parts =
        pattern_ ? cut(pattern_->spans(word.text), CutRule::kIsolated) : std::vector<Span>{{0, word.text.size(), true}};
    for (const Span& part : parts) {
      const std::string_view bytes = std::string_view(word.text).substr(part.begin, part.end - part.begin);
      words.push_back({bytes_to_visible(bytes), word.at_begin && part.begin == 0});
    }
  }

 private:
  bool add_prefix_space_;
  std::optional<Pattern> pattern_;
};

}  // namespace

std::unique_ptr<const PreTokenizer> metaspace_pre_tokenizer(std::string mark, PrefixSpace prefix, bool split) {
  return std::make_unique<Metaspace>(std::move(mark), prefix, split);
}

std::unique_ptr<const PreTokenizer> byte_level_pre_tokenizer(bool add_prefix_space, bool use_regex) {
  return std::make_unique<ByteLevel>(add_prefix_space, use_regex);
}

std::unique_ptr<const PreTokenizer> split_pre_tokenizer(Pattern pattern, CutRule rule, bool invert) {
  const auto find = [pattern = std::move(pattern), invert](std::string_view text) {
    std::vector<Span> spans = pattern.spans(text);
    for (Span& span : spans) span.is_match = span.is_match != invert;
    return spans;
  };
  return cutting(find, rule);
}

std::unique_ptr<const PreTokenizer> digits_pre_tokenizer(bool individual_digits) {
  return cutting(each_character(is_number), individual_digits ? CutRule::kIsolated : CutRule::kContiguous);
}

std::unique_ptr<const PreTokenizer> punctuation_pre_tokenizer(CutRule rule) {
  return cutting(each_character(is_punctuation), rule);
}

std::unique_ptr<const PreTokenizer> white_space_split_pre_tokenizer() {
  return cutting(each_character(is_white_space), CutRule::kRemoved);
}

std::unique_ptr<const PreTokenizer> white_space_pre_tokenizer() { return cutting(words_and_space, CutRule::kRemoved); }

std::unique_ptr<const PreTokenizer> bert_pre_tokenizer() {
  const auto find = [](std::string_view text) {
    std::vector<Span> spans;
    for (const Span& span : each_character([](char32_t c) { return is_white_space(c) || is_punctuation(c); })(text)) {
      spans.push_back({span.begin, span.end, span.is_match && is_white_space(code_point_at(text, span.begin))});
    }
    return spans;
  };
  return cutting(find, CutRule::kRemoved);
}

}  // namespace layalign::data
