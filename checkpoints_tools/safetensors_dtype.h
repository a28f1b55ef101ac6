#pragma once

#include <array>
#include <cstdint>
#include <string_view>

// Without LibTorch; torch_dtype.h has its types.
namespace layalign::checkpoints_tools {

/// A dtype of the safetensors format that tensors can have.
struct SafetensorsDtype {
  std::string_view name;
  uint64_t bytes;  ///< of one element
};

/// All of them, in the order of the reference's enumeration, which is the (reversed) order of tensors in a file.
inline constexpr std::array kDtypes = {
    SafetensorsDtype{"BOOL", 1},    SafetensorsDtype{"U8", 1},      SafetensorsDtype{"I8", 1},
    SafetensorsDtype{"F8_E5M2", 1}, SafetensorsDtype{"F8_E4M3", 1}, SafetensorsDtype{"I16", 2},
    SafetensorsDtype{"U16", 2},     SafetensorsDtype{"F16", 2},     SafetensorsDtype{"BF16", 2},
    SafetensorsDtype{"I32", 4},     SafetensorsDtype{"U32", 4},     SafetensorsDtype{"F32", 4},
    SafetensorsDtype{"F64", 8},     SafetensorsDtype{"I64", 8},     SafetensorsDtype{"U64", 8},
};

/// The one of that name in kDtypes; null where there is none.
const SafetensorsDtype* find_dtype(std::string_view name);
/// True for a dtype of the format that is not supported here, such as sub-byte floats.
bool is_unsupported_dtype(std::string_view name);

}  // namespace layalign::checkpoints_tools
