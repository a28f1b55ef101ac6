#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

struct XXH3_state_s;  // of xxhash.h, which stays out of our headers

namespace layalign::checkpoints_tools {

/// Gives the state of a running hash back.
struct FreeXxh3State {
  void operator()(XXH3_state_s* state) const;
};

/// XXH3-128 of a stream of bytes: the value depends on the bytes only, not on how they were cut into updates.
/// Finds accidents, not attacks: it is not a cryptographic hash.
class Xxh3 {
 public:
  Xxh3();
  void update(std::span<const std::byte> bytes);
  void update(std::string_view text);

  /// The hash of everything given so far, as `xxhsum -H2` prints it: 32 lower-case hexadecimal digits.
  std::string hex() const;

 private:
  std::unique_ptr<XXH3_state_s, FreeXxh3State> state_;
};

/// XXH3-64 of a stream of bytes.
class Xxh3Short {
 public:
  Xxh3Short();
  void update(std::span<const std::byte> bytes);

  /// The hash of everything given so far.
  uint64_t value() const;

 private:
  std::unique_ptr<XXH3_state_s, FreeXxh3State> state_;
};

/// A hash of 128 bits.
struct Hash128 {
  uint64_t high = 0, low = 0;
};

/// XXH3-128 and XXH3-64 of `bytes`, as numbers.
Hash128 xxh3_128(std::span<const std::byte> bytes);
uint64_t xxh3_64(std::span<const std::byte> bytes);

/// A hash as xxhsum prints it: 16 or 32 lower-case hexadecimal digits, the highest first.
std::string hex_of(uint64_t hash);
std::string hex_of(const Hash128& hash);

/// XXH3-128 of `bytes` as 32 lower-case hexadecimal digits.
std::string xxh3_hex(std::span<const std::byte> bytes);

}  // namespace layalign::checkpoints_tools
