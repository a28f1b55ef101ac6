#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/pattern.h"
#include "data/sentencepiece_model.h"

namespace layalign::data {

/// A step from the texts of tokens back to text. Named as in tokenizer.json. Threads: immutable.
class Decoder {
 public:
  virtual ~Decoder() = default;
  virtual std::vector<std::string> decode(std::vector<std::string> tokens) const = 0;
};

/// The steps of a tokenizer, in order; the texts that come out are joined without spaces.
using Decoders = std::vector<std::unique_ptr<const Decoder>>;

/// Visible characters become bytes (byte_level.h), and bytes text; what is not UTF-8 becomes U+FFFD.
std::unique_ptr<const Decoder> byte_level_decoder();
/// `mark` becomes a space; where `drop_first`, those of the first token go.
std::unique_ptr<const Decoder> metaspace_decoder(std::string mark, bool drop_first);
std::unique_ptr<const Decoder> replace_decoder(Pattern pattern, std::string content);
/// Runs of <0x0A> become text where they are UTF-8, else one U+FFFD each.
std::unique_ptr<const Decoder> byte_fallback_decoder();
/// SentencePiece's own way back, to one token: marks of pieces become spaces, control pieces go, texts that are no
/// pieces stay. White space at the ends comes off, as M2M100's class has it.
std::unique_ptr<const Decoder> sentencepiece_decoder(const SentencePieceModel& model);
/// All tokens become one.
std::unique_ptr<const Decoder> fuse_decoder();
/// Takes up to `start` and `stop` of a character off the ends of each token.
std::unique_ptr<const Decoder> strip_decoder(std::string character, int64_t start, int64_t stop);
/// Tokens that begin with `prefix` continue a word. `cleanup`: no spaces before English punctuation.
std::unique_ptr<const Decoder> word_piece_decoder(std::string prefix, bool cleanup);

}  // namespace layalign::data
