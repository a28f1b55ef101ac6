#pragma once

#include <ATen/ATen.h>

#include <filesystem>
#include <initializer_list>
#include <set>
#include <string>
#include <vector>

#include "checkpoints_tools/weight_folder.h"
#include "dist/tensor_parallel.h"

namespace layalign::model {

/// The weights of one model folder as a model's constructor takes them: shape checked, cut to this rank's shard, converted
/// to the compute type and moved to the device. Only the slice that is asked for is read.
class Weights {
 public:
  /// `prefixes`: the task prefixes that names may carry; prefix() is the one under which `probe` is found.
  /// Errors: ModelError when no prefix fits.
  Weights(const std::filesystem::path& folder, const std::vector<std::string>& prefixes, const std::string& probe,
          at::Device device, at::ScalarType type);

  const std::string& prefix() const { return prefix_; }
  bool contains(const std::string& name) const { return files_.contains(name); }

  /// The whole tensor. Errors: ModelError naming file, tensor, expected and stored shape.
  at::Tensor whole(const std::string& name, at::IntArrayRef shape);
  /// Rows [shard.begin, shard.end) of a tensor of the global `shape`, padded with zero rows to shard.size.
  at::Tensor rows(const std::string& name, at::IntArrayRef shape, const dist::Shard& shard);
  /// Columns [shard.begin, shard.end) of a matrix of the global `shape`, padded with zero columns to shard.size.
  at::Tensor columns(const std::string& name, at::IntArrayRef shape, const dist::Shard& shard);

  /// Names that nothing has asked for.
  std::vector<std::string> unused() const;
  const std::string& fingerprint() const { return files_.fingerprint(); }

 private:
  const std::string& checked(const std::string& name, at::IntArrayRef shape);
  at::Tensor placed(const std::string& name, const at::Tensor& tensor) const;

  checkpoints_tools::WeightFolder files_;
  std::string prefix_;
  at::Device device_;
  at::ScalarType type_;
  std::set<std::string> used_;
};

/// Adds those tensors that are defined.
void append_defined(std::vector<at::Tensor>& all, std::initializer_list<at::Tensor> tensors);

}  // namespace layalign::model
