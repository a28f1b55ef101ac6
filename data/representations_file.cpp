#include "data/representations_file.h"

#include <c10/util/Exception.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>
#include <utility>

#include "checkpoints_tools/file_operations.h"
#include "data/activation_cache/hdf5_file.h"

namespace layalign::data {
namespace {

namespace fs = std::filesystem;
using checkpoints_tools::FileWriter;

constexpr int64_t kVersion = 1;
constexpr int64_t kAlignmentBytes = 64;

Hdf5Front front_of(const RepresentationsForm& form) {
  std::vector<std::string> layers;
  for (const auto& layer : form.layers) layers.push_back(layer.name);
  std::map<std::string, Hdf5Attribute> attributes{{"format", "layalign representations"},
                                                  {"version", kVersion},
                                                  {"languages", nlohmann::json(form.languages).dump()},
                                                  {"layers", nlohmann::json(layers).dump()}};
  attributes.insert(form.notes.begin(), form.notes.end());
  const std::vector<uint64_t> sentences(form.sentences.begin(), form.sentences.end());
  const auto languages = static_cast<int64_t>(form.languages.size()), count = static_cast<int64_t>(sentences.size());
  std::vector<Hdf5Plan> plans{{"sentences", Hdf5Number::kUint64, {count}, std::as_bytes(std::span(sentences))}};
  for (const auto& layer : form.layers) {
    plans.push_back({layer.name, Hdf5Number::kFloat32, {languages, count, layer.width}});
  }
  return make_hdf5_front(attributes, plans, kAlignmentBytes, form.layers.size());
}

}  // namespace

struct RepresentationsFile::Impl {
  fs::path path, temporary;
  Hdf5Front front;
  std::optional<FileWriter> file;
  bool pending = false;
};

RepresentationsFile::RepresentationsFile(fs::path path, const RepresentationsForm& form)
    : impl_(std::make_unique<Impl>()) {
  impl_->path = std::move(path);
  impl_->temporary = impl_->path;
  impl_->temporary += ".tmp";
  impl_->front = front_of(form);
  impl_->file.emplace(FileWriter::create(impl_->temporary, impl_->path));
  impl_->pending = true;
  try {
    impl_->file->allocate(impl_->front.file_bytes);
    impl_->file->write_at(0, impl_->front.bytes);
  } catch (...) {
    std::error_code ignored;  // the first failure is the one to tell
    fs::remove(impl_->temporary, ignored);
    throw;
  }
}

RepresentationsFile::~RepresentationsFile() {
  std::error_code ignored;
  if (impl_->pending) fs::remove(impl_->temporary, ignored);
}

void RepresentationsFile::write(const std::string& layer, std::span<const float> values) {
  const Hdf5Dataset& place = impl_->front.datasets.at(layer);
  TORCH_CHECK(static_cast<int64_t>(values.size_bytes()) == place.bytes, layer, " has ", place.bytes, " bytes, got ",
              values.size_bytes());
  impl_->file->write_at(place.offset, std::as_bytes(values));
}

void RepresentationsFile::commit() {
  impl_->file->flush();
  impl_->file->close();
  checkpoints_tools::rename_file(impl_->temporary, impl_->path);
  impl_->pending = false;
  checkpoints_tools::flush_folder_of(impl_->path);
}

}  // namespace layalign::data
