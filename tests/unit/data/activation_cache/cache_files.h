#pragma once

// Small activation caches for tests. Shape letters: P planes, S tokens, De encoder width, R bytes of a row.

#include <ATen/ATen.h>

#include <cstring>
#include <string>
#include <vector>

#include "data/activation_cache/activation_cache.h"
#include "data/activation_cache/state_codec.h"
#include "tests/unit/checkpoints_tools/temporary_folder.h"

namespace layalign::data {

using checkpoints_tools::message_of;
using checkpoints_tools::read_bytes;
using checkpoints_tools::TemporaryFolder;
using checkpoints_tools::write_bytes;

using Texts = std::vector<std::vector<int64_t>>;

inline CacheForm form_of(CacheDtype dtype = CacheDtype::kBfloat16, std::vector<int64_t> layers = {0, 2, 3},
                         int64_t width = 40) {
  return {.encoder_weights = "0123456789abcdef0123456789abcdef",
          .encoder_config = "fedcba9876543210fedcba9876543210",
          .compute_precision = "float32",
          .dtype = dtype,
          .layers = std::move(layers),
          .width = width,
          .tokenizer = "a tokenizer"};
}

/// `count` texts of 1, 2, 3 ... tokens; those of another `seed` have other ids.
inline Texts texts_of(int64_t count, int64_t seed = 0) {
  Texts texts;
  for (int64_t i = 0; i < count; ++i) {
    texts.emplace_back();
    for (int64_t j = 0; j <= i; ++j) texts.back().push_back((seed * 1000 + i * 37 + j * 11) % 250000);
  }
  return texts;
}

/// The states of a text [P, S, De]: a function of its ids, so that every test knows what must be read.
inline at::Tensor states_of(const std::vector<int64_t>& ids, const CacheForm& form) {
  auto states_PSD = at::empty({form.planes(), static_cast<int64_t>(ids.size()), form.width});
  auto* numbers = states_PSD.mutable_data_ptr<float>();
  uint64_t state = 88172645463325252ull + ids.size();
  for (int64_t id : ids) state = state * 31 + static_cast<uint64_t>(id);
  for (int64_t i = 0; i < states_PSD.numel(); ++i) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;  // xorshift64
    numbers[i] = static_cast<float>(static_cast<int64_t>(state >> 20) % 2001 - 1000) / 64.0f;
  }
  return states_PSD;
}

inline at::Tensor rows_of(const std::vector<int64_t>& ids, const CacheForm& form) {
  return encode_rows(states_of(ids, form), form.dtype);
}

/// Adds a shard to a cache that is there. Returns the path of its .h5.
inline std::filesystem::path add_shard(const std::filesystem::path& folder, const CacheForm& form, const Texts& texts) {
  ShardWriter writer(folder, form, texts);
  for (size_t i = texts.size(); i-- > 0;) writer.write(static_cast<int64_t>(i), rows_of(texts[i], form));
  writer.commit();
  return writer.path();
}

inline bool same_bytes(const at::Tensor& a, const at::Tensor& b) {
  const auto x = a.contiguous(), y = b.contiguous();
  if (x.sizes() != y.sizes()) return false;
  return x.nbytes() == 0 || std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0;
}

/// Every plane of a text, read from its shard.
inline at::Tensor read_text(const CachedText& place, const CacheForm& form) {
  auto rows = at::empty({form.planes(), place.tokens(), form.row_bytes()}, at::kByte);
  std::vector<int64_t> planes;
  for (int64_t i = 0; i < form.planes(); ++i) planes.push_back(i);
  place.shard->read(place.text, planes, {static_cast<std::byte*>(rows.mutable_data_ptr()), rows.nbytes()});
  return rows;
}

}  // namespace layalign::data
