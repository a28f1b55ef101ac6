#pragma once

#include <stdexcept>
#include <string>

#include "checkpoints_tools/error.h"

namespace layalign::trainer {

/// A file of the run could not be written or read back. Exit code 74.
using checkpoints_tools::IoError;

/// Loss or gradient is NaN or infinite. The message names step, rank and samples. Exit code 76.
class DivergedError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace layalign::trainer
