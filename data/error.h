#pragma once

#include <stdexcept>

namespace layalign::data {

/// A corpus or tokenizer that cannot be used. The message names file and line and what to do. Exit code 65.
class DataError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace layalign::data
