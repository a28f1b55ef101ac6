#pragma once

#include <filesystem>

#include "data/activation_cache/cache_form.h"

namespace layalign::data {

/// The name of the file that says what a cache holds.
inline constexpr const char* kFormFile = "cache.json";

/// Reads `folder/cache.json`. Errors: DataError naming the file, the field and what to do.
CacheForm read_form_file(const std::filesystem::path& folder);

/// Writes it. Errors: checkpoints_tools::IoError; DataError where the form makes no sense.
void write_form_file(const std::filesystem::path& folder, const CacheForm& form);

/// Errors: DataError beginning with `where`, where no cache can have this form: layers not ascending, no width, a
/// compute precision or layers that do not exist.
void require_sense(const CacheForm& form, const std::string& where);

}  // namespace layalign::data
