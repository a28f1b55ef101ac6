#include "data/pattern.h"

#include <oniguruma.h>

#include <algorithm>
#include <limits>
#include <mutex>

#include "data/error.h"
#include "data/utf8.h"

namespace layalign::data {
namespace {

// Groups inside groups; deeper expressions would recurse too deeply while they are compiled.
constexpr unsigned kMaxParseDepth = 200;

const OnigUChar* bytes(const char* text) { return reinterpret_cast<const OnigUChar*>(text); }

std::string message_of(int code, OnigErrorInfo* info) {
  OnigUChar text[ONIG_MAX_ERROR_MESSAGE_LEN];
  const int length = info == nullptr ? onig_error_code_to_str(text, code) : onig_error_code_to_str(text, code, info);
  return {reinterpret_cast<const char*>(text), static_cast<size_t>(length)};
}

}  // namespace

struct Pattern::Regex {
  explicit Regex(const std::string& expression) {
    static std::mutex compiling;  // the library keeps tables that it fills when they are first needed
    const std::lock_guard lock(compiling);
    OnigEncoding encodings[] = {ONIG_ENCODING_UTF8};
    onig_initialize(encodings, 1);
    onig_set_parse_depth_limit(kMaxParseDepth);
    OnigErrorInfo info;
    const char* const begin = expression.data();
    const int code = onig_new(&compiled, bytes(begin), bytes(begin + expression.size()), ONIG_OPTION_NONE,
                              ONIG_ENCODING_UTF8, ONIG_SYNTAX_DEFAULT, &info);
    if (code != ONIG_NORMAL) {
      throw DataError("the regular expression '" + expression + "' cannot be used: " + message_of(code, &info));
    }
  }
  ~Regex() { onig_free(compiled); }
  Regex(const Regex&) = delete;

  // The first match that begins at `from` or after it; no match: an empty span at the end. `region` is working space.
  Span search(std::string_view text, size_t from, OnigRegion* region) const {
    const OnigUChar* const begin = bytes(text.data());
    const OnigUChar* const end = begin + text.size();
    const int found = onig_search(compiled, begin, end, begin + from, end, region, ONIG_OPTION_NONE);
    if (found == ONIG_MISMATCH) return {text.size(), text.size(), false};
    if (found < 0)
      throw DataError("the tokenizer's regular expression failed on a text: " + message_of(found, nullptr));
    return {static_cast<size_t>(region->beg[0]), static_cast<size_t>(region->end[0]), true};
  }

  regex_t* compiled = nullptr;
};

Pattern Pattern::literal(std::string text) {
  Pattern pattern;
  pattern.literal_ = std::move(text);
  return pattern;
}

Pattern Pattern::regex(const std::string& expression) {
  Pattern pattern;
  pattern.regex_ = std::make_shared<const Regex>(expression);
  return pattern;
}

std::vector<Span> Pattern::spans(std::string_view text) const {
  if (text.size() > static_cast<size_t>(std::numeric_limits<int>::max())) throw DataError("a text of more than 2 GiB");
  std::vector<Span> spans;
  size_t done = 0;
  const auto add = [&](size_t begin, size_t end) {
    if (done < begin) spans.push_back({done, begin, false});
    spans.push_back({begin, end, true});
    done = end;
  };
  if (!regex_ && !literal_.empty()) {
    for (size_t at = text.find(literal_); at != text.npos; at = text.find(literal_, done))
      add(at, at + literal_.size());
  }
  const std::unique_ptr<OnigRegion, void (*)(OnigRegion*)> region(
      regex_ ? onig_region_new() : nullptr, [](OnigRegion* finished) { onig_region_free(finished, 1); });
  for (size_t from = 0; regex_ && from <= text.size();) {
    const Span match = regex_->search(text, from, region.get());
    if (!match.is_match) break;
    if (match.begin == match.end && !spans.empty() && spans.back().is_match && spans.back().end == match.end) {
      // An empty match right behind another counts for nothing.
      from += from < text.size() ? utf8_length(text, from) : 1;
      continue;
    }
    add(match.begin, match.end);
    from = match.end;
  }
  if (done < text.size()) spans.push_back({done, text.size(), false});
  return spans;
}

std::string replace_matches(const Pattern& pattern, std::string_view text, std::string_view content) {
  std::string out;
  for (const Span& span : pattern.spans(text)) {
    out += span.is_match ? content : text.substr(span.begin, span.end - span.begin);
  }
  return out;
}

std::vector<Span> cut(std::vector<Span> spans, CutRule rule) {
  if (rule == CutRule::kMergedWithNext) std::ranges::reverse(spans);
  std::vector<Span> parts;
  bool previous = false;
  for (const Span& span : spans) {
    const bool joins = rule == CutRule::kContiguous ? span.is_match == previous : span.is_match && !previous;
    const bool may_join = rule != CutRule::kRemoved && rule != CutRule::kIsolated;
    if (may_join && joins && !parts.empty()) {
      parts.back().begin = std::min(parts.back().begin, span.begin);
      parts.back().end = std::max(parts.back().end, span.end);
    } else if (rule != CutRule::kRemoved || !span.is_match) {
      parts.push_back(span);
    }
    previous = span.is_match;
  }
  if (rule == CutRule::kMergedWithNext) std::ranges::reverse(parts);
  std::erase_if(parts, [](const Span& part) { return part.begin == part.end; });
  return parts;
}

}  // namespace layalign::data
