#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace layalign::data {

/// What a file of representations holds.
struct RepresentationsForm {
  struct Layer {
    std::string name;
    int64_t width = 0;
  };

  std::vector<std::string> languages;
  std::vector<int64_t> sentences;            ///< which sentence each is, the same in every language
  std::vector<Layer> layers;                 ///< in this order in the file
  std::map<std::string, std::string> notes;  ///< attributes besides: whose states these are
};

/// An HDF5 file of one vector for each sentence of each language and each layer, as docs/evaluation.md describes it: a
/// float32 dataset a layer, [languages, sentences, width]. Whole or not at all: it has another name until `commit`, and
/// goes without it. Errors: DataError for what HDF5 cannot hold; checkpoints_tools::IoError with the path, such as for
/// a full disk, which the constructor finds.
class RepresentationsFile {
 public:
  RepresentationsFile(std::filesystem::path path, const RepresentationsForm& form);
  RepresentationsFile(const RepresentationsFile&) = delete;
  RepresentationsFile& operator=(const RepresentationsFile&) = delete;
  ~RepresentationsFile();

  /// A layer's values, languages outermost. Every layer is to be written once, in any order.
  void write(const std::string& layer, std::span<const float> values);
  void commit();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace layalign::data
