#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace layalign::data {

/// How a state's numbers are stored.
enum class CacheDtype {
  kFloat32,
  kBfloat16,
  kFloat8,  ///< e4m3, with a power-of-two scale for every 32 numbers of a row
};

/// "float32", "bfloat16", "float8".
std::string_view name_of(CacheDtype dtype);
/// Errors: DataError for any other name.
CacheDtype cache_dtype_named(std::string_view name);

/// Numbers of a float8 row that share a scale, as in the OCP MX formats.
inline constexpr int64_t kScaleGroup = 32;
/// Scales of a float8 row of De numbers: ceil(De / 32).
int64_t scales_of(int64_t width);
/// Bytes of a stored row of De numbers: 4 De; 2 De; De + scales_of(De) (behind the numbers).
int64_t row_bytes(CacheDtype dtype, int64_t width);

/// What the states of a cache are and what made them. Two caches are interchangeable where all but `tokenizer` are
/// equal.
struct CacheForm {
  std::string encoder_weights;    ///< hash of the content of all weight files
  std::string encoder_config;     ///< hash of config.json
  std::string compute_precision;  ///< float32 or bfloat16: what the encoder computed with
  CacheDtype dtype = CacheDtype::kFloat32;
  std::vector<int64_t> layers;  ///< which of hidden_states[0..n], ascending; the last one is always n
  int64_t width = 0;            ///< De
  std::string tokenizer;        ///< information only: the key of a text is its ids

  int64_t planes() const { return static_cast<int64_t>(layers.size()); }
  /// Bytes of one row: one token's state of one layer.
  int64_t row_bytes() const;
  /// Bytes of all states of a token.
  int64_t token_bytes() const { return planes() * row_bytes(); }
};

/// Refuses a cache of another form. `folder` is named in the message.
/// Errors: DataError naming each field that differs with both values, and what to do.
void require_same_form(const CacheForm& wanted, const CacheForm& found, const std::filesystem::path& folder);

}  // namespace layalign::data
