#include "model/packed_sequences.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace layalign::model {

PackedSequences::PackedSequences(std::vector<int64_t> offsets, at::Device device) : offsets_(std::move(offsets)) {
  for (int64_t i = 0; i < count(); ++i) longest_ = std::max(longest_, length(i));
  if (!device.is_cpu()) on_device_ = at::tensor(offsets_, at::kInt).to(device, /*non_blocking=*/true);
}

}  // namespace layalign::model
