#pragma once

#include <string>

namespace layalign::dist {

class Process;

/// A word that any rank may say at any time and all others hear soon: for work in which the ranks have no step in common.
/// Threads: one at a time, beside any other use of MPI. Errors: CommError.
class Notice {
 public:
  virtual ~Notice() = default;

  /// Says it to all ranks, once: later calls do nothing. At most 63 bytes; longer ones are cut. Does not wait.
  virtual void give(const std::string& word) = 0;
  /// What a rank, this one too, has said first; "": nobody has said anything yet.
  virtual std::string heard() = 0;
  /// All ranks, when none says anything any more: takes in what is still on its way. `process`: the one that made it.
  /// Collectives: a gather on the control channel.
  virtual void close(const Process& process) = 0;
};

}  // namespace layalign::dist
