#pragma once

#include "checkpoints_tools/hash.h"
#include "checkpoints_tools/safetensors_header.h"

namespace layalign::checkpoints_tools {

/// The key of a safetensors file's metadata for its checksum, which the files written here have.
inline constexpr const char* kChecksumKey = "layalign.xxh3";

/// Before the name of a file that lies beside the weights: the key for its XXH3-128 (`layalign.xxh3.config.json`).
inline constexpr const char* kCompanionChecksumPrefix = "layalign.xxh3.";

/// Begins the checksum of a safetensors file: everything that its header says but the checksum itself, as README.md of
/// this folder tells. Given the bytes of the tensors, in the order of the file, its hex() is the checksum.
Xxh3 begin_checksum(const SafetensorsHeader& header);

}  // namespace layalign::checkpoints_tools
