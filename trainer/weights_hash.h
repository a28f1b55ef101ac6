#pragma once

#include <filesystem>
#include <string>

#include "dist/process.h"
#include "trainer/frozen_models.h"

namespace layalign::trainer {

/// XXH3-128 over every byte of a model folder's weight files, their names and sizes. The ranks hash parts of 64 MiB each.
///
/// `memory`: a JSON file in which the first rank remembers it together with names, sizes and times of the files, so that it is
/// computed once; where it cannot be written, it is computed every time.
/// Collectives: on the control channel. Errors: CheckpointError for weights that cannot be read.
std::string hash_weights(const std::filesystem::path& model_folder, const std::filesystem::path& memory,
                         const dist::Process* process, const Together& together);

/// XXH3-128 of a model folder's config.json. Errors: std::system_error where it cannot be read.
std::string hash_config(const std::filesystem::path& model_folder);

}  // namespace layalign::trainer
