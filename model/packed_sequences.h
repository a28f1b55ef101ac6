#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace layalign::model {

/// Where the samples of a packed row of tokens lie.
class PackedSequences {
 public:
  /// `offsets` [B+1]: first token of each sample, and the number of all. `device`: of the row. CUDA: copies them there without waiting.
  PackedSequences(std::vector<int64_t> offsets, at::Device device);

  int64_t count() const { return static_cast<int64_t>(offsets_.size()) - 1; }  ///< B
  int64_t begin(int64_t sample) const { return offsets_[sample]; }
  int64_t length(int64_t sample) const { return offsets_[sample + 1] - offsets_[sample]; }
  int64_t tokens() const { return offsets_.back(); }  ///< of all samples
  int64_t longest() const { return longest_; }
  /// The offsets as the kernels of GPUs read them, int32 [B+1] on the device; undefined on a CPU.
  const at::Tensor& on_device() const { return on_device_; }

 private:
  std::vector<int64_t> offsets_;
  int64_t longest_ = 0;
  at::Tensor on_device_;
};

}  // namespace layalign::model
