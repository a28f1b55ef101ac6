#pragma once

#include <cstdint>
#include <string_view>

namespace layalign::data {

/// A field of a protobuf message in wire format.
struct ProtobufField {
  uint64_t number = 0;
  int wire_type = 0;         ///< 0 varint, 1 eight bytes, 2 length-delimited, 5 four bytes
  uint64_t integer = 0;      ///< wire types 0, 1 and 5, as unsigned bits
  std::string_view bytes{};  ///< wire type 2
};

/// Walks the fields of one message; every read is checked against its end.
class ProtobufReader {
 public:
  /// `offset` is the place of `message` in its file, for messages of errors.
  explicit ProtobufReader(std::string_view message, uint64_t offset = 0) : message_(message), base_(offset) {}

  /// The next field, or false at the end. Errors: DataError "byte N: problem", without the path.
  bool next(ProtobufField& field);

  /// Place in the file of a part of this message.
  uint64_t offset_of(std::string_view part) const { return base_ + (part.data() - message_.data()); }

 private:
  uint64_t varint();
  uint64_t fixed(int bytes);
  std::string_view take(uint64_t bytes);
  [[noreturn]] void fail(const char* problem) const;

  std::string_view message_;
  uint64_t base_;
  size_t position_ = 0;
};

}  // namespace layalign::data
