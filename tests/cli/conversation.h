#pragma once

#include <sys/types.h>

#include <string>

#include "tests/cli/program.h"

namespace layalign::test {

/// A running layalign-eval that is spoken to, through a pipe or as a person at a terminal does.
class Conversation {
 public:
  enum class Through { kPipe, kTerminal };

  Conversation(Through through, int ranks, const std::string& arguments);
  ~Conversation();
  Conversation(const Conversation&) = delete;
  Conversation& operator=(const Conversation&) = delete;

  void say(const std::string& text) const;
  /// What the program has said since the last call, up to and with `end`. Throws with what came where it does not come.
  std::string hear(const std::string& end);
  /// Ends the input, and waits for the program. The output is what was not heard yet.
  Outcome finish();

 private:
  bool read_more(double patience_s);

  bool terminal_;
  pid_t child_ = -1;
  int to_ = -1, from_ = -1;
  std::string heard_;
};

}  // namespace layalign::test
