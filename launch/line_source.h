#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace layalign::launch {

/// Lines of text as they come: of a file, through a pipe, or from a person at a terminal. For one rank.
class LineSource {
 public:
  /// `input`: a file; empty: standard input. `under_mpi`: a launcher may stand between this process and the terminal.
  /// Errors: DataError for a file that cannot be read, naming the line that is no text.
  LineSource(const std::string& input, bool under_mpi);

  /// Whether a person types the lines.
  bool is_terminal() const { return terminal_; }

  /// Waits for a line, and takes those too that are there already: of a file all. Asks a person with "> ".
  /// Lines are without their ends; none at the end of the input.
  /// Errors: DataError "standard input:line: ..." for bytes that are not UTF-8, after the lines before them; IoError.
  std::vector<std::string> next();

 private:
  std::vector<std::string> take_lines();

  bool terminal_ = false;
  bool at_end_ = false;            // of standard input
  std::vector<std::string> file_;  // lines of a file that were not taken yet
  std::string pending_;            // bytes of standard input that were not taken yet
  int64_t taken_ = 0;              // lines of standard input
};

}  // namespace layalign::launch
