#pragma once

#include <ATen/ATen.h>

#include "checkpoints_tools/safetensors_dtype.h"

namespace layalign::checkpoints_tools {

/// The type of tensors of a dtype, which is one of kDtypes.
at::ScalarType torch_type(const SafetensorsDtype& dtype);
/// The one of kDtypes that tensors of that type have; null where the format or this reader has none.
const SafetensorsDtype* find_dtype(at::ScalarType type);

}  // namespace layalign::checkpoints_tools
