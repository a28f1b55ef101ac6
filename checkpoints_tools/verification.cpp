#include "checkpoints_tools/verification.h"

#include "checkpoints_tools/safetensors.h"
#include "checkpoints_tools/safetensors_header.h"

namespace layalign::checkpoints_tools {
namespace {

/// Tells of the first value that is not finite and of how many there are; empty where all are.
std::string non_finite(const at::Tensor& tensor) {
  if (!at::isFloatingType(tensor.scalar_type()) || tensor.numel() == 0) return "";
  // The eight-bit types have no operations of their own.
  const at::Tensor bad = tensor.to(at::kFloat).flatten().isfinite().logical_not();
  const auto count = bad.sum().item<int64_t>();
  if (count == 0) return "";
  return std::to_string(count) + " of " + std::to_string(tensor.numel()) +
         " values are NaN or infinite, the first is element " + std::to_string(bad.nonzero()[0].item<int64_t>());
}

}  // namespace

std::vector<std::string> weights_problems(const std::filesystem::path& path) {
  std::vector<std::string> problems;
  try {
    const SafetensorsFile file(path);
    for (const auto& [name, info] : file.tensors()) {
      const std::string wrong = non_finite(file.read(name));
      if (!wrong.empty()) problems.push_back(path.string() + ": tensor " + in_quotes(name) + ": " + wrong);
    }
  } catch (const CheckpointError& error) {
    problems.emplace_back(error.what());
  }
  return problems;
}

}  // namespace layalign::checkpoints_tools
