#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "checkpoints_tools/tensor_map.h"
#include "configs/schema.h"
#include "trainer/adapter_form.h"
#include "trainer/adapter_scores.h"

namespace layalign::trainer {

/// Everything that an exported adapter says of itself.
struct AdapterDescription {
  std::string name;
  std::string encoder, llm;  ///< names of the frozen models, as the hub knows them where the user said so
  std::string license;       ///< an identifier of the hub's, such as apache-2.0
  configs::RunConfig config;
  model::TrainableSizes sizes;
  AdapterLayers layers;
  std::vector<AdapterScore> scores;
};

/// What a model card says of the folder that it lies in.
struct CardUse {
  std::string library;  ///< library_name, as the hub knows it
  std::string files;    ///< rows of a table: file, what it holds; adapter.safetensors has one already
  std::string text;     ///< how to use it
};

/// config.json of an adapter: names of the models, layers, kinds, sizes, stages.
nlohmann::ordered_json adapter_config(const AdapterDescription& adapter);

/// README.md of an adapter: a model card with YAML front matter as the Hugging Face hub reads it.
std::string adapter_card(const AdapterDescription& adapter, const CardUse& use);

/// Writes `folder` with adapter.safetensors (our names) and files of text (name, content), whose checksums are in its
/// metadata, that of the model card excepted, which people edit. It appears whole or not at all. Errors: ConfigError
/// where the folder exists and is not empty; IoError.
void write_adapter(const std::filesystem::path& folder, const checkpoints_tools::TensorMap& tensors,
                   const std::vector<std::pair<std::string, std::string>>& texts);

/// Writes `folder` with adapter.safetensors, config.json and README.md. Errors: as write_adapter.
void export_adapter(const std::filesystem::path& folder, const AdapterDescription& adapter,
                    const checkpoints_tools::TensorMap& tensors);

}  // namespace layalign::trainer
