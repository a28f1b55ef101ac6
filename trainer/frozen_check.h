#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace layalign::trainer {

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
