#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>

namespace layalign::model {

/// A model folder that this program cannot run: an unsupported field, a missing or misshapen weight, heads that do not divide.
class ModelError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The states of a sample cannot be had or kept. The message does not name the sample: `sample` is its place in the batch.
class StatesError : public std::runtime_error {
 public:
  StatesError(size_t sample, const std::string& reason) : std::runtime_error(reason), sample_(sample) {}
  size_t sample() const { return sample_; }

 private:
  size_t sample_;
};

}  // namespace layalign::model
