#include "checkpoints_tools/safetensors_dtype.h"

#include <algorithm>
#include <array>

namespace layalign::checkpoints_tools {
namespace {

// In the order of the reference's enumeration, which is the (reversed) order of tensors in a file.
constexpr std::array kDtypes = {
    SafetensorsDtype{"BOOL", at::kBool, 1},
    SafetensorsDtype{"U8", at::kByte, 1},
    SafetensorsDtype{"I8", at::kChar, 1},
    SafetensorsDtype{"F8_E5M2", at::kFloat8_e5m2, 1},
    SafetensorsDtype{"F8_E4M3", at::kFloat8_e4m3fn, 1},
    SafetensorsDtype{"I16", at::kShort, 2},
    SafetensorsDtype{"U16", at::kUInt16, 2},
    SafetensorsDtype{"F16", at::kHalf, 2},
    SafetensorsDtype{"BF16", at::kBFloat16, 2},
    SafetensorsDtype{"I32", at::kInt, 4},
    SafetensorsDtype{"U32", at::kUInt32, 4},
    SafetensorsDtype{"F32", at::kFloat, 4},
    SafetensorsDtype{"F64", at::kDouble, 8},
    SafetensorsDtype{"I64", at::kLong, 8},
    SafetensorsDtype{"U64", at::kUInt64, 8},
};

constexpr std::array<std::string_view, 7> kUnsupported = {"F4",          "F6_E2M3",     "F6_E3M2", "F8_E8M0",
                                                          "F8_E4M3FNUZ", "F8_E5M2FNUZ", "C64"};

}  // namespace

const SafetensorsDtype* find_dtype(std::string_view name) {
  const auto* found = std::ranges::find(kDtypes, name, &SafetensorsDtype::name);
  return found == kDtypes.end() ? nullptr : found;
}

const SafetensorsDtype* find_dtype(at::ScalarType type) {
  const auto* found = std::ranges::find(kDtypes, type, &SafetensorsDtype::type);
  return found == kDtypes.end() ? nullptr : found;
}

bool is_unsupported_dtype(std::string_view name) { return std::ranges::find(kUnsupported, name) != kUnsupported.end(); }

}  // namespace layalign::checkpoints_tools
