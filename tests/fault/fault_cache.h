#pragma once

#include <vector>

#include "tests/unit/data/activation_cache/cache_files.h"

namespace layalign::data {

/// The cache that the fault tests make and break: two shards of three texts.
inline CacheForm fault_form() { return form_of(CacheDtype::kBfloat16, {0, 1, 3}, 40); }

inline std::vector<Texts> fault_shards() { return {texts_of(3, 1), texts_of(3, 2)}; }

/// What is wrong with the states that can be read from a cache: anything but an error or the right bytes is. `found`:
/// texts that were found.
inline std::string wrong_texts(const ActivationCache& cache, const CacheForm& form, int* found) {
  std::string wrong;
  for (const Texts& texts : fault_shards()) {
    for (const auto& ids : texts) {
      const auto place = cache.find(cache_key(ids));
      if (!place) continue;
      ++*found;
      if (!same_bytes(read_text(*place, form), rows_of(ids, form))) wrong += to_string(cache_key(ids)) + " ";
    }
  }
  return wrong;
}

}  // namespace layalign::data
