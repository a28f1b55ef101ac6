#include "data/decoders.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <unordered_map>
#include <utility>

#include "data/byte_level.h"
#include "data/text_space.h"
#include "data/utf8.h"

namespace layalign::data {
namespace {

using Tokens = std::vector<std::string>;

constexpr std::string_view kUnknownSurface = " \u2047 ";  // what SentencePiece writes for its unknown piece

/// A decoder that is a function.
template <typename Function>
class FunctionDecoder : public Decoder {
 public:
  explicit FunctionDecoder(Function function) : function_(std::move(function)) {}
  Tokens decode(Tokens tokens) const override { return function_(std::move(tokens)); }

 private:
  Function function_;
};

template <typename Function>
std::unique_ptr<const Decoder> decoder_from(Function function) {
  return std::make_unique<FunctionDecoder<Function>>(std::move(function));
}

// The byte that a token such as <0x0A> stands for.
std::optional<char> byte_of(std::string_view token) {
  uint8_t value = 0;
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return std::nullopt;
  const char* const end = token.data() + 5;
  if (std::from_chars(token.data() + 3, end, value, 16).ptr != end) return std::nullopt;
  return static_cast<char>(value);
}

Tokens join_bytes(const Tokens& tokens) {
  Tokens out;
  std::string bytes;
  const auto flush = [&] {
    if (bytes.empty()) return;
    if (!first_invalid_utf8(bytes)) {
      out.push_back(bytes);
    } else {
      out.insert(out.end(), bytes.size(), "\uFFFD");
    }
    bytes.clear();
  };
  for (const std::string& token : tokens) {
    if (const std::optional<char> byte = byte_of(token)) {
      bytes += *byte;
      continue;
    }
    flush();
    out.push_back(token);
  }
  flush();
  return out;
}

std::string without_english_spaces(std::string text) {
  constexpr std::pair<const char*, const char*> kRules[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : kRules) text = replace_all(text, from, to);
  return text;
}

// As Python's str.strip, which takes U+001C to U+001F for white space too.
std::string as_stripped_by_python(std::string_view text) {
  size_t begin = text.size(), end = 0;  // of what stays
  for (size_t i = 0; i < text.size();) {
    const char32_t character = code_point_at(text, i);
    const bool stays = !is_white_space(character) && (character < 0x1C || character > 0x1F);
    if (stays) begin = std::min(begin, i);
    i += utf8_length(text, i);
    if (stays) end = i;
  }
  return begin < end ? std::string(text.substr(begin, end - begin)) : std::string();
}

void strip(std::string& token, const std::string& character, int64_t start, int64_t stop) {
  for (; start > 0 && token.starts_with(character); --start) token.erase(0, character.size());
  for (; stop > 0 && token.ends_with(character); --stop) token.resize(token.size() - character.size());
}

}  // namespace

std::unique_ptr<const Decoder> byte_level_decoder() {
  return decoder_from([](const Tokens& tokens) {
    std::string bytes;
    for (const std::string& token : tokens) append_bytes_of_visible(token, bytes);
    return Tokens{replace_invalid_utf8(bytes)};
  });
}

std::unique_ptr<const Decoder> metaspace_decoder(std::string mark, bool drop_first) {
  return decoder_from([mark = std::move(mark), drop_first](Tokens tokens) {
    for (size_t i = 0; i < tokens.size(); ++i)
      tokens[i] = replace_all(tokens[i], mark, i == 0 && drop_first ? "" : " ");
    return tokens;
  });
}

std::unique_ptr<const Decoder> replace_decoder(Pattern pattern, std::string content) {
  return decoder_from([pattern = std::move(pattern), content = std::move(content)](Tokens tokens) {
    for (std::string& token : tokens) token = replace_matches(pattern, token, content);
    return tokens;
  });
}

std::unique_ptr<const Decoder> byte_fallback_decoder() { return decoder_from(join_bytes); }

std::unique_ptr<const Decoder> sentencepiece_decoder(const SentencePieceModel& model) {
  std::unordered_map<std::string, Piece::Kind> kinds;
  for (const Piece& piece : model.pieces) kinds.emplace(piece.text, piece.kind);
  return decoder_from([kinds = std::move(kinds)](const Tokens& tokens) {
    std::string text;
    for (const std::string& token : tokens) {
      const auto found = kinds.find(token);
      if (found == kinds.end()) {
        text += token;
      } else if (found->second == Piece::Kind::kUnknown) {
        text += kUnknownSurface;
      } else if (found->second != Piece::Kind::kControl) {
        text += replace_all(token, kSpaceMark, " ");
      }
    }
    return Tokens{as_stripped_by_python(text)};
  });
}

std::unique_ptr<const Decoder> fuse_decoder() {
  return decoder_from([](const Tokens& tokens) {
    std::string text;
    for (const std::string& token : tokens) text += token;
    return Tokens{text};
  });
}

std::unique_ptr<const Decoder> strip_decoder(std::string character, int64_t start, int64_t stop) {
  return decoder_from([character = std::move(character), start, stop](Tokens tokens) {
    for (std::string& token : tokens) strip(token, character, start, stop);
    return tokens;
  });
}

std::unique_ptr<const Decoder> word_piece_decoder(std::string prefix, bool cleanup) {
  return decoder_from([prefix = std::move(prefix), cleanup](Tokens tokens) {
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0) tokens[i] = tokens[i].starts_with(prefix) ? tokens[i].substr(prefix.size()) : " " + tokens[i];
      if (cleanup) tokens[i] = without_english_spaces(tokens[i]);
    }
    return tokens;
  });
}

}  // namespace layalign::data
