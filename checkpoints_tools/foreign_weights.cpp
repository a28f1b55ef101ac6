#include "checkpoints_tools/foreign_weights.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>

#include "checkpoints_tools/error.h"
#include "checkpoints_tools/mapped_file.h"
#include "checkpoints_tools/public_names.h"
#include "checkpoints_tools/safetensors.h"
#include "checkpoints_tools/weight_folder.h"
#include "configs/strict_json.h"

namespace layalign::checkpoints_tools {
namespace {

namespace fs = std::filesystem;

constexpr const char* kInitPrefix = "init.";

/// Tensors that are read one by one: a whole model may lie around the few that are wanted.
struct Source {
  std::vector<std::string> names;
  std::function<at::Tensor(const std::string&)> read;
};

/// torch.save writes a zip archive, or before version 1.6 a bare pickle (protocol 2).
void refuse_pickle(const fs::path& path) {
  const MappedFile file(path);
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  if (!text.starts_with("PK\x03\x04") && !text.starts_with("\x80\x02")) return;
  throw CheckpointError(
      path.string() +
      ": a pickled file, which is not read because loading it can run code; name it pytorch_model.bin in a "
      "folder of its own and convert that once, in the folder of LayAlign: .venv/bin/python "
      "checkpoints_tools/convert_bin.py FOLDER");
}

Source open_source(const fs::path& path) {
  Source source;
  if (fs::is_directory(path)) {
    const auto folder = std::make_shared<WeightFolder>(path);
    source.names = folder->names();
    source.read = [folder](const std::string& name) { return folder->read(name); };
    return source;
  }
  refuse_pickle(path);
  const auto file = std::make_shared<SafetensorsFile>(path);
  for (const auto& [name, info] : file->tensors()) source.names.push_back(name);
  source.read = [file](const std::string& name) { return file->read(name); };
  return source;
}

/// A name that only the public code has: mapping.end_boundary is in both.
bool tells_public(const std::string& name) { return is_public_name(name) && name != "mapping.end_boundary"; }

bool is_plain_name(const std::string& name) {
  return name.starts_with("mapping.") || name.starts_with("aligner.") || name == "gates" || name.starts_with("gates.");
}

ForeignWeights read_public(const Source& source, const std::vector<int64_t>& language_layers) {
  ForeignWeights weights;
  TensorMap publics;
  for (const std::string& name : source.names) {
    if (is_frozen_name(name)) {
      ++weights.passed_over;
    } else {
      publics.emplace(name, source.read(name));
    }
  }
  weights.names = "the public code's";
  weights.language_layers = language_layers;
  weights.tensors = from_public(publics, weights.language_layers);
  return weights;
}

ForeignWeights read_ours(const Source& source, const std::string& prefix, const fs::path& path) {
  ForeignWeights weights;
  for (const std::string& name : source.names) {
    if (name.starts_with(prefix)) {
      weights.tensors.emplace(name.substr(prefix.size()), source.read(name));
    } else {
      ++weights.passed_over;
    }
  }
  if (weights.tensors.empty()) {
    throw CheckpointError(path.string() + ": has no tensors whose names begin with '" + prefix + "'");
  }
  weights.names = prefix.empty() ? "ours" : "ours behind '" + prefix + "'";
  return weights;
}

}  // namespace

std::vector<int64_t> language_layers_of(const fs::path& path) {
  const SafetensorsFile file(path);
  const auto found = file.metadata().find(kLanguageLayersKey);
  if (found == file.metadata().end()) return {};
  try {
    return configs::parse_json(found->second, path.string()).get<std::vector<int64_t>>();
  } catch (const std::exception&) {
    throw CheckpointError(path.string() + ": metadata '" + kLanguageLayersKey +
                          "': expected a JSON array of layers, got '" + found->second +
                          "'; give --language-layers instead");
  }
}

ForeignWeights read_foreign(const fs::path& path, const std::string& prefix,
                            const std::vector<int64_t>& language_layers) {
  const Source source = open_source(path);
  std::vector<int64_t> layers = language_layers;
  if (layers.empty() && !fs::is_directory(path)) layers = language_layers_of(path);
  if (prefix.empty() && std::ranges::any_of(source.names, tells_public)) return read_public(source, layers);
  const bool plain = std::ranges::any_of(source.names, is_plain_name);
  const bool behind_init =
      std::ranges::any_of(source.names, [](const auto& name) { return name.starts_with(kInitPrefix); });
  ForeignWeights weights = read_ours(source, prefix.empty() && !plain && behind_init ? kInitPrefix : prefix, path);
  weights.language_layers = layers;
  return weights;
}

}  // namespace layalign::checkpoints_tools
