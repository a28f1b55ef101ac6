#pragma once

#include <stdexcept>

namespace layalign::checkpoints_tools {

/// A weight or checkpoint file that cannot be read, trusted or written. The message names the file, the tensor or byte,
/// and what to do.
class CheckpointError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A file of ours could not be written, made durable or read back: full disk, no permission, lost mount. The message
/// names the path, the reason of the operating system and, where a disk is full, the bytes needed and free. Exit code 74.
class IoError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace layalign::checkpoints_tools
