#include "data/activation_cache/cache_form.h"

#include <array>

#include "data/error.h"

namespace layalign::data {
namespace {

constexpr std::array kDtypes = {CacheDtype::kFloat32, CacheDtype::kBfloat16, CacheDtype::kFloat8};

std::string text_of(const std::vector<int64_t>& layers) {
  std::string text;
  for (int64_t layer : layers) text += (text.empty() ? "" : ", ") + std::to_string(layer);
  return "[" + text + "]";
}

}  // namespace

std::string_view name_of(CacheDtype dtype) {
  constexpr std::array<std::string_view, 3> kNames = {"float32", "bfloat16", "float8"};
  return kNames[static_cast<size_t>(dtype)];
}

CacheDtype cache_dtype_named(std::string_view name) {
  for (CacheDtype dtype : kDtypes) {
    if (name == name_of(dtype)) return dtype;
  }
  throw DataError("dtype '" + std::string(name) + "': expected float32, bfloat16 or float8");
}

int64_t scales_of(int64_t width) { return (width + kScaleGroup - 1) / kScaleGroup; }

int64_t row_bytes(CacheDtype dtype, int64_t width) {
  switch (dtype) {
    case CacheDtype::kFloat32:
      return 4 * width;
    case CacheDtype::kBfloat16:
      return 2 * width;
    case CacheDtype::kFloat8:
      return width + scales_of(width);
  }
  throw DataError("unknown dtype of an activation cache");
}

int64_t CacheForm::row_bytes() const { return data::row_bytes(dtype, width); }

void require_same_form(const CacheForm& wanted, const CacheForm& found, const std::filesystem::path& folder) {
  std::string differences;
  const auto compare = [&](const char* field, const std::string& here, const std::string& there) {
    if (here == there) return;
    differences += "\n  " + std::string(field) + ": " + there + " in the cache, " + here + " wanted";
  };
  compare("encoder_weights", wanted.encoder_weights, found.encoder_weights);
  compare("encoder_config", wanted.encoder_config, found.encoder_config);
  compare("compute_precision", wanted.compute_precision, found.compute_precision);
  compare("dtype", std::string(name_of(wanted.dtype)), std::string(name_of(found.dtype)));
  compare("layers", text_of(wanted.layers), text_of(found.layers));
  compare("width", std::to_string(wanted.width), std::to_string(found.width));
  if (differences.empty()) return;
  throw DataError(folder.string() + ": this activation cache holds other states than those wanted:" + differences +
                  "\nGive another cache.path, use the encoder and settings that made the cache, or remove it and build "
                  "it again with layalign-cache build");
}

}  // namespace layalign::data
