#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace layalign::checkpoints_tools {

/// Tensors by name, in CPU memory.
using TensorMap = std::map<std::string, at::Tensor>;

/// All tensors of a safetensors file. Errors: CheckpointError.
TensorMap read_tensors(const std::filesystem::path& file);

/// The tensors as write_safetensors takes them.
std::vector<std::pair<std::string, at::Tensor>> as_list(const TensorMap& tensors);

/// Dtype and shape as messages show them: "F32 [2, 3]".
std::string form_of(const at::Tensor& tensor);

/// How two tensors of one name differ.
struct TensorDifference {
  std::string name;
  std::string form_a, form_b;  ///< form_of each; empty where that side has no such tensor
  bool same_shape = false;     ///< only then are values compared
  bool bit_equal = false;      ///< same dtype, shape and bytes
  int64_t values = 0;          ///< of one side
  int64_t differing = 0;       ///< values that are not equal as numbers
  double max_absolute = 0;     ///< largest |a - b|, in float64; NaN where a NaN meets a number
  double max_relative = 0;     ///< largest |a - b| / max(|a|, |b|)
};

/// Compares the tensors of both sides by name; one entry a name, sorted.
std::vector<TensorDifference> compare(const TensorMap& a, const TensorMap& b);

/// The mean of the sets, tensor by tensor: summed in float64 in the order given, rounded once to their dtype. `paths`:
/// where the sets come from, for messages. At least one set. Errors: CheckpointError naming EVERY tensor that not all
/// sets have in the same dtype and shape, or that holds no floating-point numbers.
TensorMap average(const std::vector<TensorMap>& sets, const std::vector<std::string>& paths);

}  // namespace layalign::checkpoints_tools
