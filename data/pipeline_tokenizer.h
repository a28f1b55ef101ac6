#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "data/added_tokens.h"
#include "data/decoders.h"
#include "data/normalizers.h"
#include "data/pre_tokenizers.h"
#include "data/token_model.h"
#include "data/token_vocabulary.h"
#include "data/tokenizer.h"

namespace layalign::data {

/// The special tokens around an encoder's text. NLLB and M2M100 have the token of the text's language among them.
struct FrameRule {
  enum class LanguageCode { kNone, kFirst, kLast };

  Frame fixed;
  LanguageCode language_code = LanguageCode::kNone;
  /// The token of a language by its English name; nothing where the form has none for it.
  std::optional<std::string> (*token_of)(std::string_view language) = nullptr;
  std::string default_code;  ///< where the language of a text is not known
  /// Ends the message where the vocabulary lacks a language's token.
  std::string remedy = "additional_special_tokens of special_tokens_map.json should name it";
};

/// What a tokenizer is made of, in the order in which a text goes through it.
struct TokenizerParts {
  Normalizers normalizers;
  PreTokenizers pre_tokenizers;
  std::unique_ptr<const TokenModel> model;
  std::optional<Decoders> decoders;           ///< none: tokens are joined by spaces
  std::optional<TokenVocabulary> vocabulary;  ///< must be there
  FrameRule frame;
  int64_t eos_id = -1;
};

/// A tokenizer as the Hugging Face library builds it: added tokens are cut out of the text, the stretches between them
/// are normalised, cut into words and encoded by themselves.
class PipelineTokenizer : public Tokenizer {
 public:
  explicit PipelineTokenizer(TokenizerParts parts);

  std::vector<int64_t> encode(std::string_view text) const override;
  std::string decode(std::span<const int64_t> ids) const override;
  Frame frame(std::string_view language) const override;
  int64_t vocabulary_size() const override { return parts_.vocabulary->size(); }
  int64_t eos_id() const override { return parts_.eos_id; }
  const std::filesystem::path& folder() const override { return parts_.vocabulary->folder(); }

 private:
  // `is_first`: nothing of the text comes before the stretch.
  void encode_stretch(std::string_view text, bool is_first, std::vector<int64_t>& ids) const;
  int64_t language_id(std::string_view language) const;

  TokenizerParts parts_;
  std::optional<AddedTokenFinder> raw_tokens_, normalized_tokens_;
  std::unordered_map<int64_t, std::string> normalized_texts_;  // of the added tokens that are looked for so
};

}  // namespace layalign::data
