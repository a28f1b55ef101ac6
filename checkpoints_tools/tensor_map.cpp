#include "checkpoints_tools/tensor_map.h"

#include <cstring>
#include <set>

#include "checkpoints_tools/error.h"
#include "checkpoints_tools/safetensors.h"
#include "checkpoints_tools/safetensors_header.h"
#include "checkpoints_tools/torch_dtype.h"

namespace layalign::checkpoints_tools {
namespace {

bool same_bytes(const at::Tensor& a, const at::Tensor& b) {
  return a.nbytes() == 0 || std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0;
}

/// Fills in what the values say. Both tensors have one shape.
void compare_values(const at::Tensor& a, const at::Tensor& b, TensorDifference& difference) {
  difference.bit_equal = a.scalar_type() == b.scalar_type() && same_bytes(a.contiguous(), b.contiguous());
  difference.values = a.numel();
  if (difference.bit_equal || a.numel() == 0) return;
  const at::Tensor x = a.to(at::kDouble), y = b.to(at::kDouble);
  const at::Tensor equal = (x == y).logical_or(x.isnan().logical_and(y.isnan()));
  const at::Tensor absolute = at::where(equal, 0.0, (x - y).abs());
  const at::Tensor relative = at::where(equal, 0.0, absolute / at::maximum(x.abs(), y.abs()));
  difference.differing = a.numel() - equal.sum().item<int64_t>();
  difference.max_absolute = absolute.max().item<double>();
  difference.max_relative = relative.max().item<double>();
}

std::set<std::string> all_names(const std::vector<TensorMap>& sets) {
  std::set<std::string> names;
  for (const TensorMap& set : sets) {
    for (const auto& [name, tensor] : set) names.insert(name);
  }
  return names;
}

/// What keeps the tensor of this name from being averaged; empty where nothing does.
std::string problem_of(const std::string& name, const std::vector<TensorMap>& sets,
                       const std::vector<std::string>& paths) {
  const TensorMap& first = sets[0];
  for (size_t i = 0; i < sets.size(); ++i) {
    const auto found = sets[i].find(name);
    if (found == sets[i].end()) return "\n  " + in_quotes(name) + ": missing in " + paths[i];
    if (!at::isFloatingType(found->second.scalar_type())) {
      return "\n  " + in_quotes(name) + ": " + form_of(found->second) + " holds no floating-point numbers";
    }
    if (i > 0 && first.contains(name) && form_of(first.at(name)) != form_of(found->second)) {
      return "\n  " + in_quotes(name) + ": " + form_of(first.at(name)) + " in " + paths[0] + ", " +
             form_of(found->second) + " in " + paths[i];
    }
  }
  return "";
}

}  // namespace

TensorMap read_tensors(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  TensorMap tensors;
  for (const auto& [name, info] : file.tensors()) tensors.emplace(name, file.read(name));
  return tensors;
}

std::vector<std::pair<std::string, at::Tensor>> as_list(const TensorMap& tensors) {
  return {tensors.begin(), tensors.end()};
}

std::string form_of(const at::Tensor& tensor) {
  const SafetensorsDtype* dtype = find_dtype(tensor.scalar_type());
  return c10::str(dtype ? dtype->name : c10::toString(tensor.scalar_type()), " ", tensor.sizes());
}

std::vector<TensorDifference> compare(const TensorMap& a, const TensorMap& b) {
  std::vector<TensorDifference> differences;
  for (const std::string& name : all_names({a, b})) {
    TensorDifference& difference = differences.emplace_back();
    difference.name = name;
    const auto in_a = a.find(name), in_b = b.find(name);
    if (in_a != a.end()) difference.form_a = form_of(in_a->second);
    if (in_b != b.end()) difference.form_b = form_of(in_b->second);
    difference.same_shape = in_a != a.end() && in_b != b.end() && in_a->second.sizes() == in_b->second.sizes();
    if (difference.same_shape) compare_values(in_a->second, in_b->second, difference);
  }
  return differences;
}

TensorMap average(const std::vector<TensorMap>& sets, const std::vector<std::string>& paths) {
  TORCH_CHECK(!sets.empty() && sets.size() == paths.size(), "average: expected a path for each of one or more sets");
  std::string problems;
  for (const std::string& name : all_names(sets)) problems += problem_of(name, sets, paths);
  if (!problems.empty()) {
    throw CheckpointError(
        "cannot average: only checkpoints of one model have a mean, with the same names, shapes and "
        "dtypes:" +
        problems);
  }
  TensorMap means;
  for (const auto& [name, first] : sets[0]) {
    at::Tensor sum = first.to(at::kDouble, /*non_blocking=*/false, /*copy=*/true);
    for (size_t i = 1; i < sets.size(); ++i) sum += sets[i].at(name).to(at::kDouble);
    means.emplace(name, (sum / static_cast<double>(sets.size())).to(first.scalar_type()));
  }
  return means;
}

}  // namespace layalign::checkpoints_tools
