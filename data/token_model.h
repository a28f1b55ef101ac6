#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace layalign::data {

/// A text of a vocabulary and its id.
struct Token {
  std::string text;
  int64_t id = -1;
};

/// The texts of tokens, valid as long as the tokens are.
inline std::vector<std::string_view> texts_of(const std::vector<Token>& tokens) {
  std::vector<std::string_view> texts;
  texts.reserve(tokens.size());
  for (const Token& token : tokens) texts.push_back(token.text);
  return texts;
}

/// Cuts words into the entries of a vocabulary. Threads: immutable.
class TokenModel {
 public:
  virtual ~TokenModel() = default;
  /// Appends the ids of one word (well-formed UTF-8, not empty).
  virtual void encode(std::string_view word, std::vector<int64_t>& ids) const = 0;
};

}  // namespace layalign::data
