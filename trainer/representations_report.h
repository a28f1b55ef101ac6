#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "trainer/representations.h"

namespace layalign::trainer {

/// How near the languages are to English in the layers of one mode.
struct RepresentationsReport {
  struct Layer {
    std::string name;
    std::vector<Similarity> languages;  ///< in the order of `languages`
  };

  std::string mode;                    ///< "llm", "mapping" or "layalign"
  std::string weights;                 ///< the file that the trained parts are from, or "untrained"
  std::vector<std::string> languages;  ///< without English
  int64_t sentences = 0;
  std::vector<Layer> layers;
};

/// A table of retrieval and one of cosines, a row a layer, for people; lines that end with '\n'.
std::string similarity_table(const RepresentationsReport& report);

/// Writes the numbers as JSON, whole or not at all: docs/evaluation.md. Errors: IoError with the path.
void write_similarities(const std::filesystem::path& path, const RepresentationsReport& report);

}  // namespace layalign::trainer
