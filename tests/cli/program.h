#pragma once

#include <filesystem>
#include <string>

#include "tests/command.h"

namespace layalign::test {

/// The shell's command line of `mpirun -n ranks PROGRAM arguments`, or the program alone for one rank, from the repository's
/// folder.
std::string program_command(const std::string& program, int ranks, const std::string& arguments);

/// Runs it. `input`: a shell's redirection of standard input, by default nothing.
Outcome run_program(const std::string& program, int ranks, const std::string& arguments, const std::string& input = "</dev/null");
Outcome train(int ranks, const std::string& arguments);     ///< layalign-train
Outcome evaluate(int ranks, const std::string& arguments, const std::string& input = "</dev/null");  ///< layalign-eval

/// A folder of a test's own, removed when the test ends.
class WorkFolder {
 public:
  WorkFolder();
  ~WorkFolder();
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;

  std::filesystem::path path(const std::string& name) const { return path_ / name; }
  /// Writes a file and returns its path.
  std::filesystem::path write(const std::string& name, const std::string& text) const;
  /// A copy of a golden model folder, to be damaged.
  std::filesystem::path copy_model(const std::string& name) const;

 private:
  std::filesystem::path path_;
};

std::string read_file(const std::filesystem::path& path);
void replace_in_file(const std::filesystem::path& path, const std::string& from, const std::string& to);

}  // namespace layalign::test
