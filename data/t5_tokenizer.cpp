#include "data/error.h"
#include "data/sentencepiece_tokenizer.h"
#include "data/text_space.h"
#include "data/utf8.h"

namespace layalign::data {
namespace {

constexpr std::string_view kSentinel = "<extra_id_";

std::string sentinel(int64_t index) { return std::string(kSentinel) + std::to_string(index) + ">"; }

// The sentinels are the last ids, counted from the end.
void append_sentinels(std::vector<Piece>& pieces, int64_t count) {
  for (int64_t i = count - 1; i >= 0; --i) pieces.push_back({.text = sentinel(i)});
}

std::vector<AddedToken> own_tokens(const SentencePieceModel& model, int64_t sentinels) {
  std::vector<AddedToken> tokens = control_tokens(model);
  for (const AddedToken& token : tokens) {
    if (token.content.find(kSentinel) != std::string::npos) return tokens;
  }
  for (int64_t i = 0; i < sentinels; ++i) tokens.push_back({.content = sentinel(i), .special = true});
  return tokens;
}

}  // namespace

T5Tokenizer::T5Tokenizer(std::filesystem::path folder, SentencePieceModel model, TokenizerSettings settings)
    : SentencePieceTokenizer(std::move(folder)) {
  if (model.algorithm != SentencePieceModel::Algorithm::kUnigram) {
    throw DataError(this->folder().string() + ": a T5 tokenizer needs a Unigram SentencePiece model, got another kind");
  }
  if (!model.charsmap.empty()) charsmap_.emplace(model.charsmap);
  const std::vector<AddedToken> extra_tokens = own_tokens(model, settings.extra_ids);
  append_sentinels(model.pieces, settings.extra_ids);
  unigram_.emplace(model.pieces, model.unknown_id);
  set_default_tokens(settings, {{"eos_token", "</s>"}, {"unk_token", "<unk>"}, {"pad_token", "<pad>"}});
  set_vocabulary(model.pieces, settings, extra_tokens);
}

std::string T5Tokenizer::normalize(std::string_view text) const {
  return charsmap_ ? charsmap_->normalize(text) : std::string(text);
}

void T5Tokenizer::encode_stretch(std::string_view text, bool, std::vector<int64_t>& ids) const {
  for (size_t i = 0; i < text.size();) {
    if (is_white_space(code_point_at(text, i))) {
      i += utf8_length(text, i);
      continue;
    }
    std::string word;
    for (; i < text.size() && !is_white_space(code_point_at(text, i));) {
      const std::string_view character = text.substr(i, utf8_length(text, i));
      i += character.size();
      // A word begins with the mark of a space, and one written in the text begins another word.
      if (character == kSpaceMark) {
        if (!word.empty()) unigram_->encode(word, ids);
        word.clear();
      } else if (word.empty()) {
        word = kSpaceMark;
      }
      word += character;
    }
    unigram_->encode(word, ids);
  }
}

std::string T5Tokenizer::join(const std::vector<std::string_view>& entries) const {
  std::string text;
  for (size_t i = 0; i < entries.size(); ++i) text += replace_all(entries[i], kSpaceMark, i == 0 ? "" : " ");
  return text;
}

}  // namespace layalign::data
