#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace layalign::data {

/// A vocabulary entry of a SentencePiece model; its id is its place.
struct Piece {
  enum class Kind { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

  std::string text;
  double score = 0;
  Kind kind = Kind::kNormal;
};

/// The texts of pieces by id, valid as long as the pieces are.
std::vector<std::string_view> texts_of(const std::vector<Piece>& pieces);

/// What a SentencePiece model file (.model, a protobuf message) says. Text to ids goes through our own code, not
/// through libsentencepiece: ids must be those of the Hugging Face tokenizers, and the library crashes on some damaged
/// files.
struct SentencePieceModel {
  enum class Algorithm { kUnigram = 1, kBpe = 2, kWord = 3, kChar = 4 };

  Algorithm algorithm = Algorithm::kUnigram;
  std::vector<Piece> pieces;
  int64_t unknown_id = 0;  ///< the one piece of kind kUnknown
  std::string charsmap;    ///< normalisation rules, see charsmap.h; empty: none

  // What only forms that go by SentencePiece's own rules look at.
  bool space_first = true;     ///< a text gets a space in front (add_dummy_prefix)
  bool single_spaces = true;   ///< no space at the ends or behind another (remove_extra_whitespaces)
  bool marks_spaces = true;    ///< spaces become U+2581 (escape_whitespaces)
  bool space_behind = false;   ///< the added space stands behind the text (treat_whitespace_as_suffix)
  bool byte_fallback = false;  ///< what no piece covers becomes its bytes' pieces
};

/// Reads and checks a model: whole, pieces unique and UTF-8, scores finite, one unknown piece.
/// Errors: DataError with the path, the byte and what to do.
SentencePieceModel read_sentencepiece_model(const std::filesystem::path& path);

}  // namespace layalign::data
