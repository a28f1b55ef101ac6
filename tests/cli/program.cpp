#include "tests/cli/program.h"

#include <unistd.h>

#include <fstream>
#include <sstream>
#include <stdexcept>

namespace layalign::test {

std::string program_command(const std::string& program, int ranks, const std::string& arguments) {
  const std::string launcher = ranks == 1 ? "" : "tests/mpirun.sh -n " + std::to_string(ranks) + " ";
  return "cd " LAYALIGN_SOURCE_DIR " && " + launcher + LAYALIGN_BINARY_DIR "/" + program + " " + arguments;
}

Outcome run_program(const std::string& program, int ranks, const std::string& arguments, const std::string& input) {
  return run_command(program_command(program, ranks, arguments) + " " + input);
}

Outcome train(int ranks, const std::string& arguments) { return run_program("layalign-train", ranks, arguments); }

Outcome evaluate(int ranks, const std::string& arguments, const std::string& input) {
  return run_program("layalign-eval", ranks, arguments, input);
}

WorkFolder::WorkFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "layalign-cli-XXXXXX").string();
  if (!mkdtemp(name.data())) throw std::runtime_error("mkdtemp failed");
  path_ = name;
}

WorkFolder::~WorkFolder() { std::filesystem::remove_all(path_); }

std::filesystem::path WorkFolder::write(const std::string& name, const std::string& text) const {
  std::ofstream(path(name), std::ios::binary) << text;
  return path(name);
}

std::filesystem::path WorkFolder::copy_model(const std::string& name) const {
  std::filesystem::copy(std::filesystem::path(LAYALIGN_TEST_DATA) / "golden/models" / name, path(name));
  return path(name);
}

std::string read_file(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

void replace_in_file(const std::filesystem::path& path, const std::string& from, const std::string& to) {
  std::string text = read_file(path);
  const auto at = text.find(from);
  if (at == std::string::npos) throw std::runtime_error(path.string() + " does not hold " + from);
  text.replace(at, from.size(), to);
  std::ofstream(path, std::ios::binary) << text;
}

}  // namespace layalign::test
