#pragma once

#include <stdexcept>

namespace layalign::model {

/// A model folder that this program cannot run: an unsupported field, a missing or misshapen weight, heads that do not divide.
class ModelError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace layalign::model
