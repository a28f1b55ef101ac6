#include "checkpoints_tools/hash.h"

#include <gtest/gtest.h>

namespace layalign::checkpoints_tools {
namespace {

std::string hex_of(std::string_view text) { return xxh3_hex(std::as_bytes(std::span(text))); }

// The values are what `xxhsum -H2` prints.
TEST(Hash, EqualsXxhsum) {
  EXPECT_EQ(hex_of(""), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(hex_of("layalign"), "dbb112110c2bb09cd99094da7c2dc74f");
}

TEST(Hash, StreamEqualsWhole) {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += static_cast<char>(i * 31 % 251);
  Xxh3 hash;
  for (size_t begin = 0, step = 1; begin < text.size(); begin += step, step = step * 2 + 1) {
    step = std::min(step, text.size() - begin);
    hash.update(std::string_view(text).substr(begin, step));
  }
  EXPECT_EQ(hash.hex(), hex_of(text));
  text[4000] ^= 1;
  EXPECT_NE(hash.hex(), hex_of(text));
}

}  // namespace
}  // namespace layalign::checkpoints_tools
