#include "data/sentencepiece_tokenizer.h"

#include <algorithm>
#include <unordered_map>

#include "data/error.h"
#include "data/utf8.h"

namespace layalign::data {
namespace {

// The tokens to add, in the order that decides their ids: declared ones, then those with a role, then the rest. Of
// equal contents the last counts, but a declared one is never replaced.
std::vector<AddedToken> tokens_to_add(const TokenizerSettings& settings, const std::vector<AddedToken>& extra_tokens) {
  std::vector<AddedToken> tokens = settings.declared_tokens;
  const size_t declared = tokens.size();
  const auto add = [&](const AddedToken& token) {
    const auto same = [&](const AddedToken& other) { return other.content == token.content; };
    if (std::any_of(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(declared), same)) return;
    tokens.push_back(token);
  };
  for (const char* key : kNamedTokens) {
    const auto named = settings.named_tokens.find(key);
    if (named != settings.named_tokens.end() && named->second) add(*named->second);
  }
  for (const AddedToken& token : settings.extra_tokens.value_or(extra_tokens)) add(token);
  return tokens;
}

}  // namespace

std::vector<AddedToken> control_tokens(const SentencePieceModel& model) {
  std::vector<AddedToken> tokens;
  for (const Piece& piece : model.pieces) {
    if (piece.kind != Piece::Kind::kControl && piece.kind != Piece::Kind::kUserDefined) continue;
    tokens.push_back({.content = piece.text, .special = piece.kind == Piece::Kind::kControl});
  }
  return tokens;
}

void set_default_tokens(TokenizerSettings& settings,
                        std::initializer_list<std::pair<const char*, const char*>> contents) {
  for (const auto& [key, content] : contents) {
    settings.named_tokens.try_emplace(key, AddedToken{.content = content, .special = true});
  }
}

void SentencePieceTokenizer::set_vocabulary(const std::vector<Piece>& pieces, const TokenizerSettings& settings,
                                            const std::vector<AddedToken>& extra_tokens) {
  std::unordered_map<std::string, int64_t> ids;
  for (const Piece& piece : pieces) {
    ids[piece.text] = static_cast<int64_t>(contents_.size());
    contents_.push_back(piece.text);
  }
  std::unordered_map<int64_t, AddedToken> added;
  for (AddedToken& token : tokens_to_add(settings, extra_tokens)) {
    if (token.content.empty()) continue;
    const auto [entry, is_new] = ids.emplace(token.content, static_cast<int64_t>(contents_.size()));
    if (is_new) contents_.push_back(token.content);
    if (token.id >= 0 && token.id != entry->second) {
      throw DataError(folder_.string() + ": the added token '" + token.content + "' is declared with id " +
                      std::to_string(token.id) + ", but its place in the vocabulary is " +
                      std::to_string(entry->second) + ". The tokenizer's files do not belong together.");
    }
    token.id = entry->second;
    added[token.id] = token;
  }

  std::vector<AddedToken> raw, normalized;
  std::vector<std::string> raw_patterns, normalized_patterns;
  is_special_.assign(contents_.size(), false);
  for (const auto& [id, token] : added) {
    is_special_[id] = token.special;
    if (token.normalized) contents_[id] = normalize(token.content);
    (token.normalized ? normalized : raw).push_back(token);
    (token.normalized ? normalized_patterns : raw_patterns).push_back(contents_[id]);
  }
  if (!raw.empty()) raw_tokens_.emplace(std::move(raw), raw_patterns);
  if (!normalized.empty()) normalized_tokens_.emplace(std::move(normalized), normalized_patterns);

  const auto eos = settings.named_tokens.find("eos_token");
  if (eos == settings.named_tokens.end() || !eos->second || !ids.contains(eos->second->content)) {
    throw DataError(folder_.string() + ": the tokenizer has no eos_token; name it in tokenizer_config.json");
  }
  eos_id_ = ids.at(eos->second->content);
}

std::vector<int64_t> SentencePieceTokenizer::encode(std::string_view text) const {
  if (const auto bad = first_invalid_utf8(text)) {
    throw DataError("the text is not UTF-8 (byte " + std::to_string(*bad) + ")");
  }
  const auto split = [](const std::optional<AddedTokenFinder>& finder, std::string_view part) {
    return finder ? finder->split(part) : std::vector<Section>{{part, std::nullopt}};
  };
  std::vector<int64_t> ids;
  bool is_first = true;
  for (const Section& section : split(raw_tokens_, text)) {
    if (section.id) {
      ids.push_back(*section.id);
    } else {
      const std::string normal = normalize(section.text);
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

std::string SentencePieceTokenizer::decode(std::span<const int64_t> ids) const {
  std::vector<std::string_view> entries;
  for (const int64_t id : ids) {
    if (id >= 0 && id < vocabulary_size() && !is_special_[id]) entries.push_back(contents_[id]);
  }
  return join(entries);
}

}  // namespace layalign::data
