#include "data/pipeline_tokenizer.h"

#include <algorithm>

#include "data/error.h"
#include "data/utf8.h"

namespace layalign::data {
namespace {

// The name that corpora give where a text's language is not known.
constexpr std::string_view kUnknownLanguage = "unknown";

std::vector<Section> split(const std::optional<AddedTokenFinder>& finder, std::string_view text) {
  return finder ? finder->split(text) : std::vector<Section>{{text, std::nullopt}};
}

}  // namespace

PipelineTokenizer::PipelineTokenizer(TokenizerParts parts) : parts_(std::move(parts)) {
  std::vector<AddedToken> raw, normalized;
  std::vector<std::string> raw_patterns, normalized_patterns;
  for (const auto& [id, token] : parts_.vocabulary->added()) {
    if (token.normalized) {
      normalized.push_back(token);
      normalized_patterns.push_back(normalize(parts_.normalizers, token.content));
      normalized_texts_[id] = normalized_patterns.back();
    } else {
      raw.push_back(token);
      raw_patterns.push_back(token.content);
    }
  }
  if (!raw.empty()) raw_tokens_.emplace(std::move(raw), raw_patterns);
  if (!normalized.empty()) normalized_tokens_.emplace(std::move(normalized), normalized_patterns);
}

std::vector<int64_t> PipelineTokenizer::encode(std::string_view text) const {
  if (const auto bad = first_invalid_utf8(text)) {
    throw DataError("the text is not UTF-8 (byte " + std::to_string(*bad) + ")");
  }
  std::vector<int64_t> ids;
  bool is_first = true;
  for (const Section& section : split(raw_tokens_, text)) {
    if (section.id) {
      ids.push_back(*section.id);
    } else {
      const std::string normal = normalize(parts_.normalizers, section.text);
      for (const Section& part : split(normalized_tokens_, normal)) {
        if (part.id) {
          ids.push_back(*part.id);
        } else {
          encode_stretch(part.text, is_first, ids);
        }
        is_first = false;
      }
    }
    is_first = false;
  }
  return ids;
}

void PipelineTokenizer::encode_stretch(std::string_view text, bool is_first, std::vector<int64_t>& ids) const {
  if (text.empty()) return;
  std::vector<Word> words{{std::string(text), is_first}};
  for (const auto& step : parts_.pre_tokenizers) {
    std::vector<Word> parts;
    for (Word& word : words) step->split(std::move(word), parts);
    words = std::move(parts);
  }
  for (const Word& word : words) parts_.model->encode(word.text, ids);
}

std::string PipelineTokenizer::decode(std::span<const int64_t> ids) const {
  std::vector<std::string> tokens;
  const auto& added = parts_.vocabulary->added();
  for (const int64_t id : ids) {
    const auto token = added.find(id);
    if (token != added.end() && token->second.special) continue;
    const auto normalized = normalized_texts_.find(id);
    const std::string* text =
        normalized == normalized_texts_.end() ? parts_.vocabulary->text_of(id) : &normalized->second;
    if (text != nullptr) tokens.push_back(*text);
  }
  for (size_t i = 0; parts_.decoders && i < parts_.decoders->size(); ++i) {
    tokens = (*parts_.decoders)[i]->decode(std::move(tokens));
  }
  std::string out;
  for (size_t i = 0; i < tokens.size(); ++i) out += (i > 0 && !parts_.decoders ? " " : "") + tokens[i];
  return out;
}

Frame PipelineTokenizer::frame(std::string_view language) const {
  Frame frame = parts_.frame.fixed;
  if (parts_.frame.language_code == FrameRule::LanguageCode::kFirst) {
    frame.before.insert(frame.before.begin(), language_id(language));
  } else if (parts_.frame.language_code == FrameRule::LanguageCode::kLast) {
    frame.after.push_back(language_id(language));
  }
  return frame;
}

int64_t PipelineTokenizer::language_id(std::string_view language) const {
  std::string code = parts_.frame.default_code;
  if (language != kUnknownLanguage) {
    const auto known = parts_.frame.token_of(language);
    if (!known) {
      throw DataError("the encoder's tokenizer " + folder().string() + " needs the language of each text, but '" +
                      std::string(language) + "' is none that it has a code for. Use a language's English name, or '" +
                      std::string(kUnknownLanguage) + "' for src_lang of tokenizer_config.json (" + code + ").");
    }
    code = *known;
  }
  if (const auto id = parts_.vocabulary->id_of(code)) return *id;
  throw DataError("the encoder's tokenizer " + folder().string() + " has no token " + code + " for the language '" +
                  std::string(language) + "'; " + parts_.frame.remedy);
}

}  // namespace layalign::data
