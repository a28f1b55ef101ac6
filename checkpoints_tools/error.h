#pragma once

#include <stdexcept>

namespace layalign::checkpoints_tools {

/// A weight or checkpoint file that cannot be read, trusted or written. The message names the file, the tensor or byte,
/// and what to do.
class CheckpointError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace layalign::checkpoints_tools
