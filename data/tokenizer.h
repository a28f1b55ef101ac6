#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace layalign::data {

/// The special tokens that stand around an encoder's text.
struct Frame {
  std::vector<int64_t> before, after;
};

/// Text to token ids and back, with the ids of the Hugging Face tokenizer of the same folder.
/// Threads: all functions may be called from many threads at once.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// The ids of a text, without bos and eos. Special tokens written in the text (</s>) become their ids.
  /// Errors: DataError where the text is not UTF-8.
  virtual std::vector<int64_t> encode(std::string_view text) const = 0;

  /// The text of ids, without special tokens. Ids outside the vocabulary are left out.
  virtual std::string decode(std::span<const int64_t> ids) const = 0;

  /// The special tokens around a text of a language (its English name, or "unknown"), as transformers puts them.
  /// Errors: DataError where the tokenizer has a token a language (NLLB, M2M100), but none for this one.
  virtual Frame frame(std::string_view language) const = 0;

  /// The largest id + 1, added tokens included.
  virtual int64_t vocabulary_size() const = 0;

  /// The id of the tokenizer's own end token.
  virtual int64_t eos_id() const = 0;

  /// Where it was read from.
  virtual const std::filesystem::path& folder() const = 0;
};

/// Reads the tokenizer of a Hugging Face model folder: a SentencePiece model of a known form, chosen by tokenizer_class
/// in tokenizer_config.json, else by model_type in config.json, else by the file's name; otherwise `tokenizer.json`.
/// See README.md. Errors: DataError where the folder has none of these files, or a tokenizer of another form, or a
/// damaged one.
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& model_folder);

/// What tells a folder's tokenizer from another's: a hash of its tokenizer files and their names.
std::string tokenizer_fingerprint(const std::filesystem::path& model_folder);

/// Encoder input: the ids of a text inside its frame, at most `max_tokens`; the text is cut, the frame is kept.
/// `language`: as Tokenizer::frame. Errors: as Tokenizer::frame and Tokenizer::encode.
std::vector<int64_t> encode_source(const Tokenizer& tokenizer, std::string_view text, std::string_view language,
                                   int64_t max_tokens);

/// LLM prompt: the ids of a text, at most `max_tokens`.
std::vector<int64_t> encode_prompt(const Tokenizer& tokenizer, std::string_view text, int64_t max_tokens);

/// LLM target: the ids of a text and `eos_id`, at most `max_tokens`, eos kept.
std::vector<int64_t> encode_target(const Tokenizer& tokenizer, std::string_view text, int64_t max_tokens,
                                   int64_t eos_id);

/// Errors: DataError where the tokenizer has ids that the model (`model_vocabulary` rows of embeddings, from
/// `model_folder`) does not know.
void check_vocabulary(const Tokenizer& tokenizer, int64_t model_vocabulary, const std::filesystem::path& model_folder);

}  // namespace layalign::data
