#include "data/activation_cache/cache_key.h"

#include <c10/util/Exception.h>

#include <limits>
#include <vector>

#include "checkpoints_tools/hash.h"

namespace layalign::data {

CacheKey cache_key(std::span<const int64_t> ids) {
  std::vector<uint32_t> words;
  words.reserve(ids.size());
  for (int64_t id : ids) {
    TORCH_CHECK(id >= 0 && id <= std::numeric_limits<uint32_t>::max(), "token id ", id, " is not a number of 32 bits");
    words.push_back(static_cast<uint32_t>(id));
  }
  return cache_key(std::span<const uint32_t>(words));
}

CacheKey cache_key(std::span<const uint32_t> ids) {
  const auto hash = checkpoints_tools::xxh3_128(std::as_bytes(ids));
  return {hash.high, hash.low};
}

std::string to_string(const CacheKey& key) { return checkpoints_tools::hex_of({key.high, key.low}); }

}  // namespace layalign::data
