#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <filesystem>
#include <vector>

namespace layalign::trainer {

/// Refuses weights, just loaded from `model_folder`, of which one is NaN or infinite; what they make would be blamed on the samples.
/// One read-back from the device. Errors: CheckpointError naming the file and the tensors.
void require_finite(const std::vector<at::Tensor>& weights, const std::filesystem::path& model_folder);

/// Notices frozen weights that have changed in memory since they were loaded: a bit that faulty memory has flipped.
class FrozenCheck {
 public:
  /// Sums the bits of each weight; compares with the sums of the calls before, and returns how many differ. `weights`: in the order of
  /// the calls before; new ones may stand at the end. One read-back from the device.
  int64_t changed(const std::vector<at::Tensor>& weights);

 private:
  at::Tensor sums_;  // int64, of the weights seen
};

}  // namespace layalign::trainer
