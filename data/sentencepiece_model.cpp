#include "data/sentencepiece_model.h"

#include <bit>
#include <cmath>
#include <system_error>
#include <unordered_set>

#include "configs/strict_json.h"
#include "data/error.h"
#include "data/protobuf.h"
#include "data/utf8.h"

namespace layalign::data {
namespace {

using Kind = Piece::Kind;

// Field numbers of sentencepiece_model.proto.
enum ModelField : uint64_t { kPieces = 1, kTrainerSpec = 2, kNormalizerSpec = 3 };
enum PieceField : uint64_t { kText = 1, kScore = 2, kKind = 3 };
enum TrainerField : uint64_t { kModelType = 3, kTreatWhitespaceAsSuffix = 24, kByteFallback = 35 };
enum NormalizerField : uint64_t {
  kPrecompiledCharsmap = 2,
  kAddDummyPrefix = 3,
  kRemoveExtraWhitespaces = 4,
  kEscapeWhitespaces = 5
};

[[noreturn]] void fail_at(uint64_t offset, const std::string& problem) {
  throw DataError("byte " + std::to_string(offset) + ": " + problem);
}

void expect_wire_type(const ProtobufField& field, int wire_type, const ProtobufReader& reader,
                      std::string_view message) {
  if (field.wire_type == wire_type) return;
  fail_at(reader.offset_of(message), "field " + std::to_string(field.number) + " has wire type " +
                                         std::to_string(field.wire_type) + ", expected " + std::to_string(wire_type));
}

Piece read_piece(std::string_view message, uint64_t offset) {
  Piece piece;
  ProtobufReader reader(message, offset);
  for (ProtobufField field; reader.next(field);) {
    switch (field.number) {
      case kText:
        expect_wire_type(field, 2, reader, message);
        piece.text = field.bytes;
        break;
      case kScore:
        expect_wire_type(field, 5, reader, message);
        piece.score = std::bit_cast<float>(static_cast<uint32_t>(field.integer));
        break;
      case kKind:
        expect_wire_type(field, 0, reader, message);
        if (field.integer < 1 || field.integer > 6) fail_at(offset, "a piece of unknown type");
        piece.kind = static_cast<Kind>(field.integer);
        break;
      default:
        break;
    }
  }
  if (piece.text.empty()) fail_at(offset, "an empty piece");
  if (first_invalid_utf8(piece.text)) fail_at(offset, "a piece that is not UTF-8");
  if (!std::isfinite(piece.score)) fail_at(offset, "piece '" + piece.text + "' has a score that is not finite");
  return piece;
}

// Calls visit(field) for the fields `number` of a nested message.
template <typename Visit>
void visit_field(std::string_view message, uint64_t offset, uint64_t number, int wire_type, Visit&& visit) {
  ProtobufReader reader(message, offset);
  for (ProtobufField field; reader.next(field);) {
    if (field.number != number) continue;
    expect_wire_type(field, wire_type, reader, message);
    visit(field);
  }
}

void read_flag(std::string_view message, uint64_t offset, uint64_t number, bool& flag) {
  visit_field(message, offset, number, 0, [&](const ProtobufField& field) { flag = field.integer != 0; });
}

void read_trainer(std::string_view message, uint64_t offset, SentencePieceModel& model) {
  visit_field(message, offset, kModelType, 0, [&](const ProtobufField& type) {
    if (type.integer < 1 || type.integer > 4) fail_at(offset, "an unknown model type");
    model.algorithm = static_cast<SentencePieceModel::Algorithm>(type.integer);
  });
  read_flag(message, offset, kTreatWhitespaceAsSuffix, model.space_behind);
  read_flag(message, offset, kByteFallback, model.byte_fallback);
}

void read_normalizer(std::string_view message, uint64_t offset, SentencePieceModel& model) {
  visit_field(message, offset, kPrecompiledCharsmap, 2,
              [&](const ProtobufField& charsmap) { model.charsmap = charsmap.bytes; });
  read_flag(message, offset, kAddDummyPrefix, model.space_first);
  read_flag(message, offset, kRemoveExtraWhitespaces, model.single_spaces);
  read_flag(message, offset, kEscapeWhitespaces, model.marks_spaces);
}

// The settings follow the pieces, so a file that lacks them is cut off, even where it ends between two fields.
SentencePieceModel parse_model(std::string_view bytes) {
  SentencePieceModel model;
  bool has_trainer = false, has_normalizer = false;
  ProtobufReader reader(bytes);
  for (ProtobufField field; reader.next(field);) {
    if (field.number > kNormalizerSpec) continue;
    expect_wire_type(field, 2, reader, bytes);
    const uint64_t offset = reader.offset_of(field.bytes);
    if (field.number == kPieces) {
      model.pieces.push_back(read_piece(field.bytes, offset));
    } else if (field.number == kTrainerSpec) {
      has_trainer = true;
      read_trainer(field.bytes, offset, model);
    } else {
      has_normalizer = true;
      read_normalizer(field.bytes, offset, model);
    }
  }
  if (!has_trainer || !has_normalizer) throw DataError("its settings are missing at the end; the file is cut off");
  return model;
}

void check_pieces(SentencePieceModel& model) {
  if (model.pieces.empty()) throw DataError("no vocabulary in it");
  std::unordered_set<std::string_view> seen;
  int64_t unknown = 0;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const Piece& piece = model.pieces[id];
    if (!seen.insert(piece.text).second) throw DataError("piece '" + piece.text + "' is there twice");
    if (piece.kind != Kind::kUnknown) continue;
    model.unknown_id = static_cast<int64_t>(id);
    ++unknown;
  }
  if (unknown != 1) throw DataError(std::to_string(unknown) + " pieces of type UNKNOWN, expected 1");
}

}  // namespace

std::vector<std::string_view> texts_of(const std::vector<Piece>& pieces) {
  std::vector<std::string_view> texts;
  texts.reserve(pieces.size());
  for (const Piece& piece : pieces) texts.push_back(piece.text);
  return texts;
}

SentencePieceModel read_sentencepiece_model(const std::filesystem::path& path) {
  if (!std::filesystem::is_regular_file(path)) throw DataError(path.string() + ": not a regular file");
  try {
    const std::string bytes = configs::read_text_file(path);
    if (bytes.empty()) throw DataError("the file is empty");
    SentencePieceModel model = parse_model(bytes);
    check_pieces(model);
    return model;
  } catch (const DataError& error) {
    throw DataError(path.string() + ": not a readable SentencePiece model (" + error.what() +
                    "). Copy the file again from where the model comes from.");
  } catch (const std::system_error& error) {
    throw DataError(error.what());
  }
}

}  // namespace layalign::data
