#include "data/activation_cache/form_file.h"

#include <nlohmann/json.hpp>

#include "checkpoints_tools/hash.h"
#include "data/activation_cache/json_file.h"
#include "data/error.h"

namespace layalign::data {
namespace {

using nlohmann::json;

constexpr std::string_view kFormat = "layalign activation cache";

json fields_of(const CacheForm& form) {
  return {{"encoder_weights", form.encoder_weights},
          {"encoder_config", form.encoder_config},
          {"compute_precision", form.compute_precision},
          {"dtype", name_of(form.dtype)},
          {"layers", form.layers},
          {"width", form.width},
          {"tokenizer", form.tokenizer}};
}

/// Of the fields in the order of their names, without spaces.
std::string hash_of(const json& fields) {
  const std::string text = fields.dump();
  return checkpoints_tools::xxh3_hex(std::as_bytes(std::span(text)));
}

}  // namespace

CacheForm read_form_file(const std::filesystem::path& folder) {
  const auto path = folder / kFormFile;
  if (!std::filesystem::exists(path)) {
    throw DataError(folder.string() + ": is no activation cache (" + kFormFile +
                    " is missing); correct cache.path, or build the cache with layalign-cache build");
  }
  const JsonFile file(
      path, kFormat, "move the folder away and build the cache again with layalign-cache build",
      {"encoder_weights", "encoder_config", "compute_precision", "dtype", "layers", "width", "tokenizer", "xxh3"});
  CacheForm form;
  form.encoder_weights = file.text("encoder_weights");
  form.encoder_config = file.text("encoder_config");
  form.compute_precision = file.text("compute_precision");
  form.layers = file.counts("layers");
  form.width = file.count("width");
  form.tokenizer = file.text("tokenizer");
  try {
    form.dtype = cache_dtype_named(file.text("dtype"));
    require_sense(form, "the form");
  } catch (const DataError& error) {
    file.fail(error.what());
  }
  if (file.text("xxh3") != hash_of(fields_of(form))) file.fail("its fields are not those that were written ('xxh3')");
  return form;
}

void write_form_file(const std::filesystem::path& folder, const CacheForm& form) {
  require_sense(form, folder.string());
  json fields = fields_of(form);
  fields["xxh3"] = hash_of(fields);
  write_json_file(folder / kFormFile, kFormat, std::move(fields));
}

void require_sense(const CacheForm& form, const std::string& where) {
  constexpr int64_t kMost = 1 << 20;
  if (form.width < 1 || form.width > kMost) throw DataError(where + ": width " + std::to_string(form.width));
  if (form.layers.empty() || form.layers.size() > 4096) {
    throw DataError(where + ": " + std::to_string(form.layers.size()) + " layers");
  }
  int64_t before = -1;
  for (int64_t layer : form.layers) {
    if (layer <= before || layer > kMost) {
      throw DataError(where + ": layer " + std::to_string(layer) + " behind " + std::to_string(before) +
                      ", expected ascending layers from 0");
    }
    before = layer;
  }
  if (form.compute_precision != "float32" && form.compute_precision != "bfloat16") {
    throw DataError(where + ": compute_precision '" + form.compute_precision + "', expected float32 or bfloat16");
  }
}

}  // namespace layalign::data
