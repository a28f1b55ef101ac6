#include <charconv>

#include "data/error.h"
#include "data/sentencepiece_tokenizer.h"
#include "data/text_space.h"
#include "data/utf8.h"

namespace layalign::data {
namespace {

constexpr std::string_view kReplacementCharacter = "\uFFFD";

// The byte that an entry such as <0x0A> stands for.
std::optional<char> byte_of(std::string_view entry) {
  uint8_t value = 0;
  if (entry.size() != 6 || !entry.starts_with("<0x") || entry.back() != '>') return std::nullopt;
  const char* const end = entry.data() + 5;
  if (std::from_chars(entry.data() + 3, end, value, 16).ptr != end) return std::nullopt;
  return static_cast<char>(value);
}

// A run of bytes is text where it is UTF-8, else one replacement character a byte.
void append_bytes(std::string& bytes, std::string& text) {
  if (!first_invalid_utf8(bytes)) {
    text += bytes;
  } else {
    for (size_t i = 0; i < bytes.size(); ++i) text += kReplacementCharacter;
  }
  bytes.clear();
}

}  // namespace

LlamaTokenizer::LlamaTokenizer(std::filesystem::path folder, SentencePieceModel model, TokenizerSettings settings)
    : SentencePieceTokenizer(std::move(folder)),
      bpe_(model.pieces),
      legacy_(settings.legacy),
      add_prefix_space_(settings.add_prefix_space) {
  if (model.algorithm != SentencePieceModel::Algorithm::kBpe) {
    throw DataError(this->folder().string() + ": a Llama tokenizer needs a BPE SentencePiece model, got another kind");
  }
  set_default_tokens(settings, {{"unk_token", "<unk>"}, {"bos_token", "<s>"}, {"eos_token", "</s>"}});
  set_vocabulary(model.pieces, settings, control_tokens(model));
}

void LlamaTokenizer::encode_stretch(std::string_view text, bool is_first, std::vector<int64_t>& ids) const {
  if (text.empty()) return;
  std::string marked = replace_all(text, " ", kSpaceMark);
  // legacy: SentencePiece's own rule, a space before every stretch. Else only at the begin of the text, and only where
  // none is written there.
  if (add_prefix_space_ && (legacy_ || (is_first && !marked.starts_with(kSpaceMark)))) {
    marked.insert(0, kSpaceMark);
  }
  bpe_.encode(marked, ids);
}

std::string LlamaTokenizer::join(const std::vector<std::string_view>& entries) const {
  std::string text, bytes;
  for (const std::string_view entry : entries) {
    const std::optional<char> byte = byte_of(entry);
    if (byte) {
      bytes += *byte;
      continue;
    }
    append_bytes(bytes, text);
    text += replace_all(entry, kSpaceMark, " ");
  }
  append_bytes(bytes, text);
  // The prefix space comes off; legacy tokenizers take a second one with it.
  for (int spaces = legacy_ ? 2 : 1; add_prefix_space_ && spaces > 0 && text.starts_with(' '); --spaces)
    text.erase(0, 1);
  return text;
}

}  // namespace layalign::data
