#include "data/token_vocabulary.h"

#include <algorithm>

#include "data/error.h"

namespace layalign::data {

TokenVocabulary::TokenVocabulary(std::filesystem::path folder, const std::vector<Token>& model_tokens)
    : folder_(std::move(folder)) {
  for (const Token& token : model_tokens) {
    ids_[token.text] = token.id;
    texts_[token.id] = token.text;
    size_ = std::max(size_, token.id + 1);
  }
}

void TokenVocabulary::add(AddedToken token) {
  if (token.content.empty()) return;
  const auto [entry, is_new] = ids_.emplace(token.content, size_);
  const int64_t id = entry->second;
  if (token.id >= 0 && token.id != id) {
    throw DataError(folder_.string() + ": the added token '" + token.content + "' is declared with id " +
                    std::to_string(token.id) + ", but its place in the vocabulary is " + std::to_string(id) +
                    ". The tokenizer's files do not belong together.");
  }
  if (is_new) {
    texts_[id] = token.content;
    ++size_;
  }
  token.id = id;
  added_[id] = std::move(token);
}

std::optional<int64_t> TokenVocabulary::id_of(const std::string& text) const {
  const auto found = ids_.find(text);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

int64_t TokenVocabulary::id_of(const std::string& text, const std::string& role) const {
  if (const auto id = id_of(text)) return *id;
  throw DataError(folder_.string() + ": the tokenizer has no " + role + (text.empty() ? "" : " '" + text + "'") +
                  "; name it in tokenizer_config.json");
}

const std::string* TokenVocabulary::text_of(int64_t id) const {
  const auto found = texts_.find(id);
  return found == texts_.end() ? nullptr : &found->second;
}

}  // namespace layalign::data
