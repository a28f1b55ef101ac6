#include "model/weights.h"

#include <algorithm>
#include <iterator>

#include <sstream>

#include "model/error.h"

namespace layalign::model {
namespace {

at::Tensor padded(const at::Tensor& tensor, int64_t dim, int64_t size) {
  if (tensor.size(dim) == size) return tensor;
  auto shape = tensor.sizes().vec();
  shape[dim] = size;
  auto result = at::zeros(shape, tensor.options());
  result.narrow(dim, 0, tensor.size(dim)).copy_(tensor);
  return result;
}

}  // namespace

Weights::Weights(const std::filesystem::path& folder, const std::vector<std::string>& prefixes, const std::string& probe,
                 at::Device device, at::ScalarType type)
    : files_(folder), device_(device), type_(type) {
  std::string tried;
  for (const auto& prefix : prefixes) {
    if (files_.contains(prefix + probe)) {
      prefix_ = prefix;
      return;
    }
    tried += (tried.empty() ? "'" : ", '") + prefix + probe + "'";
  }
  throw ModelError(folder.string() + ": the weights hold none of " + tried + "; is this the folder of another architecture?");
}

const std::string& Weights::checked(const std::string& name, at::IntArrayRef shape) {
  if (!files_.contains(name)) throw ModelError(files_.dir().string() + ": weight '" + name + "' is missing");
  used_.insert(name);
  const auto stored = files_.shape(name);
  if (at::IntArrayRef(stored) != shape) {
    std::ostringstream text;
    text << files_.where(name) << ": weight '" << name << "' has shape " << at::IntArrayRef(stored)
         << ", but config.json asks for " << shape;
    throw ModelError(text.str());
  }
  return name;
}

at::Tensor Weights::placed(const std::string& name, const at::Tensor& tensor) const {
  if (!tensor.is_floating_point()) {
    throw ModelError(files_.where(name) + ": weight '" + name + "' is stored as " + c10::toString(tensor.scalar_type()) +
                     "; only floating-point weights are supported: use the folder of the unquantised model");
  }
  return tensor.to(device_, type_);
}

at::Tensor Weights::whole(const std::string& name, at::IntArrayRef shape) {
  return placed(name, files_.read(checked(name, shape)));
}

at::Tensor Weights::rows(const std::string& name, at::IntArrayRef shape, const dist::Shard& shard) {
  return padded(placed(name, files_.read_slice(checked(name, shape), 0, shard.begin, shard.end)), 0, shard.size);
}

at::Tensor Weights::columns(const std::string& name, at::IntArrayRef shape, const dist::Shard& shard) {
  return padded(placed(name, files_.read_slice(checked(name, shape), 1, shard.begin, shard.end)), 1, shard.size);
}

std::vector<std::string> Weights::unused() const {
  std::vector<std::string> names;
  for (const auto& name : files_.names()) {
    if (!used_.contains(name)) names.push_back(name);
  }
  return names;
}

void append_defined(std::vector<at::Tensor>& all, std::initializer_list<at::Tensor> tensors) {
  std::ranges::copy_if(tensors, std::back_inserter(all), [](const at::Tensor& tensor) { return tensor.defined(); });
}

}  // namespace layalign::model
