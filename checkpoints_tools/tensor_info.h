#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace layalign::checkpoints_tools {

/// What the header of a safetensors file says about one tensor.
struct TensorInfo {
  std::string dtype;           ///< the format's name: "F32", "BF16", ...
  std::vector<int64_t> shape;  ///< empty for a scalar
  uint64_t begin = 0;          ///< bytes from the start of the file
  uint64_t end = 0;            ///< bytes from the start of the file, one past the last
};

}  // namespace layalign::checkpoints_tools
