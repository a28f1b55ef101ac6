#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "configs/reader.h"

namespace layalign::configs::testing {

/// A config that loads: the required keys only.
extern const std::string kMinimal;

/// kMinimal with one stage whose corpus is `corpus`, such as "{format: jsonl, path: a}", and more lines at the end.
std::string with_corpus(const std::string& corpus, const std::string& more = "");

/// A fresh folder that is removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// Writes a file and gives its path.
  std::filesystem::path write(const std::string& name, const std::string& text) const;

 private:
  std::filesystem::path path_;
};

/// load_config of a file "c.yaml" that holds `text`.
RunConfig load_text(const std::string& text, const std::vector<std::string>& overrides = {});

/// The lines of the ConfigError that load_text throws, with "c.yaml" for the file's path; empty where it throws none.
std::vector<std::string> problems_of(const std::string& text, const std::vector<std::string>& overrides = {});

}  // namespace layalign::configs::testing
