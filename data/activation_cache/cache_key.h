#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

namespace layalign::data {

/// What a text's states are stored under: XXH3-128 of its encoder token ids, each as 32 bits, little endian. Equal
/// texts have equal keys, whatever sample, language or stage they stand in.
struct CacheKey {
  uint64_t high = 0, low = 0;

  auto operator<=>(const CacheKey&) const = default;
};

/// The key of a text. Errors: TORCH_CHECK for an id that 32 bits do not hold.
CacheKey cache_key(std::span<const int64_t> ids);
CacheKey cache_key(std::span<const uint32_t> ids);

/// 32 lower-case hexadecimal digits, as `xxhsum -H2` prints them.
std::string to_string(const CacheKey& key);

}  // namespace layalign::data

template <>
struct std::hash<layalign::data::CacheKey> {
  size_t operator()(const layalign::data::CacheKey& key) const noexcept { return key.low; }
};
