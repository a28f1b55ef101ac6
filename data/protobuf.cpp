#include "data/protobuf.h"

#include <string>

#include "data/error.h"

namespace layalign::data {

bool ProtobufReader::next(ProtobufField& field) {
  if (position_ == message_.size()) return false;
  const uint64_t tag = varint();
  field = {.number = tag >> 3, .wire_type = static_cast<int>(tag & 7)};
  if (field.number == 0) fail("a field number 0");
  switch (field.wire_type) {
    case 0:
      field.integer = varint();
      break;
    case 1:
      field.integer = fixed(8);
      break;
    case 2:
      field.bytes = take(varint());
      break;
    case 5:
      field.integer = fixed(4);
      break;
    default:
      fail("an unknown wire type");
  }
  return true;
}

uint64_t ProtobufReader::varint() {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const auto byte = static_cast<uint8_t>(take(1)[0]);
    value |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
  fail("an integer of more than ten bytes");
}

uint64_t ProtobufReader::fixed(int bytes) {
  const std::string_view raw = take(bytes);
  uint64_t value = 0;
  for (int i = bytes - 1; i >= 0; --i) value = value << 8 | static_cast<uint8_t>(raw[i]);
  return value;
}

std::string_view ProtobufReader::take(uint64_t bytes) {
  if (bytes > message_.size() - position_) fail("a field that reaches past the end");
  const std::string_view taken = message_.substr(position_, bytes);
  position_ += bytes;
  return taken;
}

void ProtobufReader::fail(const char* problem) const {
  throw DataError("byte " + std::to_string(base_ + position_) + ": " + problem);
}

}  // namespace layalign::data
