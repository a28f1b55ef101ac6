#pragma once

#include <stdexcept>

namespace layalign::dist {

/// What this room throws: ranks that disagree, a launch that cannot work, a peer or a transport that failed (exit code
/// 70).
class CommError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace layalign::dist
