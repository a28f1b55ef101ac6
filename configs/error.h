#pragma once

#include <stdexcept>

namespace layalign::configs {

/// The configuration cannot be used. what() holds one problem a line, each with its place and what to do.
class ConfigError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace layalign::configs
