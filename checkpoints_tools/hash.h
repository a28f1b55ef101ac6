#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

struct XXH3_state_s;  // of xxhash.h, which stays out of our headers

namespace layalign::checkpoints_tools {

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
  struct Free {
    void operator()(XXH3_state_s* state) const;
  };
  std::unique_ptr<XXH3_state_s, Free> state_;
};

/// XXH3-128 of `bytes` as 32 lower-case hexadecimal digits.
std::string xxh3_hex(std::span<const std::byte> bytes);

}  // namespace layalign::checkpoints_tools
