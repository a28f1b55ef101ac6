#include "checkpoints_tools/torch_dtype.h"

#include <algorithm>

namespace layalign::checkpoints_tools {
namespace {

// In the order of kDtypes.
constexpr std::array<at::ScalarType, kDtypes.size()> kTypes = {
    at::kBool,     at::kByte, at::kChar,   at::kFloat8_e5m2, at::kFloat8_e4m3fn, at::kShort, at::kUInt16, at::kHalf,
    at::kBFloat16, at::kInt,  at::kUInt32, at::kFloat,       at::kDouble,        at::kLong,  at::kUInt64};

}  // namespace

at::ScalarType torch_type(const SafetensorsDtype& dtype) { return kTypes.at(&dtype - kDtypes.data()); }

const SafetensorsDtype* find_dtype(at::ScalarType type) {
  const auto* found = std::ranges::find(kTypes, type);
  return found == kTypes.end() ? nullptr : &kDtypes.at(found - kTypes.data());
}

}  // namespace layalign::checkpoints_tools
