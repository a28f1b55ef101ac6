#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "data/added_tokens.h"
#include "data/token_model.h"

namespace layalign::data {

/// Texts and ids of a tokenizer: the entries of its model, and tokens added to them.
class TokenVocabulary {
 public:
  /// `folder` is for messages.
  TokenVocabulary(std::filesystem::path folder, const std::vector<Token>& model_tokens);

  /// Gives a token the id of the entry of its text, else the next free one; of equal texts the last counts.
  /// Errors: DataError where it is declared with another id.
  void add(AddedToken token);

  /// Errors: none; nothing where no entry has the text.
  std::optional<int64_t> id_of(const std::string& text) const;
  /// Errors: DataError that names `role` where no entry has the text.
  int64_t id_of(const std::string& text, const std::string& role) const;
  /// Null where the id is not in use.
  const std::string* text_of(int64_t id) const;
  /// The largest id + 1.
  int64_t size() const { return size_; }
  /// By id.
  const std::map<int64_t, AddedToken>& added() const { return added_; }
  const std::filesystem::path& folder() const { return folder_; }

 private:
  std::filesystem::path folder_;
  std::unordered_map<std::string, int64_t> ids_;
  std::unordered_map<int64_t, std::string> texts_;
  std::map<int64_t, AddedToken> added_;
  int64_t size_ = 0;
};

}  // namespace layalign::data
