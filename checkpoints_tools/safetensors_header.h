#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "checkpoints_tools/tensor_info.h"

namespace layalign::checkpoints_tools {

/// The longest header that the format allows.
inline constexpr uint64_t kMaxHeaderBytes = 100'000'000;
/// Bytes of the length field before the header.
inline constexpr uint64_t kLengthBytes = 8;
/// The header's key for strings about the file; no tensor can have this name.
inline constexpr std::string_view kMetadataKey = "__metadata__";

/// What the header of a safetensors file says, checked.
struct SafetensorsHeader {
  uint64_t data_begin = 0;  ///< bytes from the start of the file
  std::map<std::string, TensorInfo> tensors;
  std::map<std::string, std::string> metadata;
};

/// Reads and validates the header of the whole file `bytes`; `path` is for messages.
///
/// Cost: one pass over the header; refused as soon as something is wrong, so a hostile header costs no more than its
/// own bytes.
/// Errors: `CheckpointError` naming the file, the tensor, the byte and what to do.
SafetensorsHeader parse_header(std::span<const std::byte> bytes, const std::filesystem::path& path);

/// A tensor's name as messages show it: quoted, printable, cut where it is long.
std::string in_quotes(std::string_view name);

}  // namespace layalign::checkpoints_tools
