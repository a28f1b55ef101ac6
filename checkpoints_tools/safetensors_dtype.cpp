#include "checkpoints_tools/safetensors_dtype.h"

#include <algorithm>

namespace layalign::checkpoints_tools {
namespace {

constexpr std::array<std::string_view, 7> kUnsupported = {"F4",          "F6_E2M3",     "F6_E3M2", "F8_E8M0",
                                                          "F8_E4M3FNUZ", "F8_E5M2FNUZ", "C64"};

}  // namespace

const SafetensorsDtype* find_dtype(std::string_view name) {
  const auto* found = std::ranges::find(kDtypes, name, &SafetensorsDtype::name);
  return found == kDtypes.end() ? nullptr : found;
}

bool is_unsupported_dtype(std::string_view name) { return std::ranges::find(kUnsupported, name) != kUnsupported.end(); }

}  // namespace layalign::checkpoints_tools
