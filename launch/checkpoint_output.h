#pragma once

#include <map>
#include <string>

#include "checkpoints_tools/tensor_map.h"

namespace layalign::launch {

/// diff's answer for weights that differ, as diff(1).
inline constexpr int kDifferent = 1;

/// Refuses a path inside a training checkpoint, whose manifest lists all that is in it. Errors: ConfigError.
void check_outside_checkpoints(const std::string& path);

/// Refuses to replace a file that is there, unless `force`, and one of a training checkpoint in any case. Call it
/// before anything is computed. Errors: ConfigError.
void check_output_file(const std::string& path, bool force);

/// Writes tensors as one safetensors file, whole or not at all. Errors: IoError.
void write_output_file(const std::string& path, const checkpoints_tools::TensorMap& tensors,
                       const std::map<std::string, std::string>& metadata);

}  // namespace layalign::launch
