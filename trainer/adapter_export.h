#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
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

/// config.json of an adapter: names of the models, layers, kinds, sizes, stages.
std::string adapter_config(const AdapterDescription& adapter);

/// README.md of an adapter: a model card with YAML front matter as the Hugging Face hub reads it.
std::string adapter_card(const AdapterDescription& adapter);

/// Writes `folder` with adapter.safetensors (our names), config.json and README.md. It appears whole or not at all.
/// Errors: ConfigError where the folder exists and is not empty; IoError.
void export_adapter(const std::filesystem::path& folder, const AdapterDescription& adapter,
                    const checkpoints_tools::TensorMap& tensors);

}  // namespace layalign::trainer
