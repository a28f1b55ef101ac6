#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string_view>

namespace layalign::checkpoints_tools {

/// A dtype of the safetensors format that tensors can have.
struct SafetensorsDtype {
  std::string_view name;
  at::ScalarType type;
  uint64_t bytes;  ///< of one element
};

/// The dtype of that name; null where there is none.
const SafetensorsDtype* find_dtype(std::string_view name);
/// The dtype of tensors of that type; null where the format or this reader has none. Pointers compare in the order in
/// which the reference writer lays tensors out (reversed).
const SafetensorsDtype* find_dtype(at::ScalarType type);
/// True for a dtype of the format that is not supported here, such as sub-byte floats.
bool is_unsupported_dtype(std::string_view name);

}  // namespace layalign::checkpoints_tools
