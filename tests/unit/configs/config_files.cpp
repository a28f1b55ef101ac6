#include "tests/unit/configs/config_files.h"

#include <cstdlib>
#include <fstream>
#include <stdexcept>

namespace layalign::configs::testing {
namespace {

std::vector<std::string> lines_of(std::string text, const std::string& folder) {
  for (size_t at = 0; (at = text.find(folder, at)) != std::string::npos;) text.erase(at, folder.size());
  std::vector<std::string> lines;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

}  // namespace

const std::string kMinimal =
    "model: {encoder: e, llm: m}\n"
    "stages:\n"
    "  - corpus: {format: jsonl, path: a.jsonl}\n";

std::string with_corpus(const std::string& corpus, const std::string& more) {
  return "model: {encoder: e, llm: m}\nstages:\n  - corpus: " + corpus + "\n" + more;
}

TemporaryFolder::TemporaryFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "layalign-configs-XXXXXX").string();
  if (!::mkdtemp(name.data())) throw std::runtime_error("no temporary folder: " + name);
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() { std::filesystem::remove_all(path_); }

std::filesystem::path TemporaryFolder::write(const std::string& name, const std::string& text) const {
  std::ofstream(path_ / name, std::ios::binary) << text;
  return path_ / name;
}

RunConfig load_text(const std::string& text, const std::vector<std::string>& overrides) {
  const TemporaryFolder folder;
  return load_config(folder.write("c.yaml", text), overrides);
}

std::vector<std::string> problems_of(const std::string& text, const std::vector<std::string>& overrides) {
  const TemporaryFolder folder;
  try {
    load_config(folder.write("c.yaml", text), overrides);
  } catch (const ConfigError& error) {
    return lines_of(error.what(), folder.path().string() + "/");
  }
  return {};
}

}  // namespace layalign::configs::testing
