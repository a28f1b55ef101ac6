#pragma once

#include <stdexcept>
#include <string>

namespace layalign::trainer {

/// A file of the run could not be written or read back: full disk, no permission, lost mount. The message names the
/// path and the reason of the operating system. Exit code 74.
class IoError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Loss or gradient is NaN or infinite. The message names step, rank and samples. Exit code 76.
class DivergedError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace layalign::trainer
