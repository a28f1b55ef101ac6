#pragma once

#include <filesystem>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/added_tokens.h"
#include "data/bpe.h"
#include "data/charsmap.h"
#include "data/sentencepiece_model.h"
#include "data/tokenizer.h"
#include "data/tokenizer_settings.h"
#include "data/unigram.h"

namespace layalign::data {

/// What the T5 and the Llama form share: added tokens are cut out of the text, the stretches between them are
/// normalised and segmented by themselves.
class SentencePieceTokenizer : public Tokenizer {
 public:
  std::vector<int64_t> encode(std::string_view text) const override;
  std::string decode(std::span<const int64_t> ids) const override;
  int64_t vocabulary_size() const override { return static_cast<int64_t>(contents_.size()); }
  int64_t eos_id() const override { return eos_id_; }
  const std::filesystem::path& folder() const override { return folder_; }

 protected:
  explicit SentencePieceTokenizer(std::filesystem::path folder) : folder_(std::move(folder)) {}

  /// To be called once, at the end of the constructor. `pieces` by id; `extra_tokens` where the settings name none.
  void set_vocabulary(const std::vector<Piece>& pieces, const TokenizerSettings& settings,
                      const std::vector<AddedToken>& extra_tokens);

 private:
  virtual std::string normalize(std::string_view text) const = 0;
  /// Appends the ids of a stretch of normalised text; `is_first`: nothing of the text comes before it.
  virtual void encode_stretch(std::string_view text, bool is_first, std::vector<int64_t>& ids) const = 0;
  /// The text of vocabulary entries.
  virtual std::string join(const std::vector<std::string_view>& entries) const = 0;

  std::filesystem::path folder_;
  std::vector<std::string> contents_;  // by id
  std::vector<bool> is_special_;       // by id
  std::optional<AddedTokenFinder> raw_tokens_, normalized_tokens_;
  int64_t eos_id_ = -1;
};

/// The tokens of a model that never come from segmentation: control pieces (special) and user-defined ones.
std::vector<AddedToken> control_tokens(const SentencePieceModel& model);

/// Names special tokens by key (eos_token) where the settings do not.
void set_default_tokens(TokenizerSettings& settings,
                        std::initializer_list<std::pair<const char*, const char*>> contents);

/// T5 form: the model's normalisation rules, words split at white space, Unigram.
class T5Tokenizer : public SentencePieceTokenizer {
 public:
  /// Errors: DataError where the model is no Unigram model, or lacks the end token.
  T5Tokenizer(std::filesystem::path folder, SentencePieceModel model, TokenizerSettings settings);

 private:
  std::string normalize(std::string_view text) const override;
  void encode_stretch(std::string_view text, bool is_first, std::vector<int64_t>& ids) const override;
  std::string join(const std::vector<std::string_view>& entries) const override;

  std::optional<Charsmap> charsmap_;
  std::optional<Unigram> unigram_;
};

/// Llama form: no normalisation, spaces kept, byte-pair encoding of whole stretches.
class LlamaTokenizer : public SentencePieceTokenizer {
 public:
  /// Errors: DataError where the model is no BPE model, or lacks the end token.
  LlamaTokenizer(std::filesystem::path folder, SentencePieceModel model, TokenizerSettings settings);

 private:
  std::string normalize(std::string_view text) const override { return std::string(text); }
  void encode_stretch(std::string_view text, bool is_first, std::vector<int64_t>& ids) const override;
  std::string join(const std::vector<std::string_view>& entries) const override;

  Bpe bpe_;
  bool legacy_;
  bool add_prefix_space_;
};

}  // namespace layalign::data
