#pragma once

#include <filesystem>
#include <string>

#include "checkpoints_tools/tensor_map.h"
#include "trainer/adapter_export.h"
#include "trainer/experiment.h"

namespace layalign::trainer {

/// Where Python loads the two frozen models from: folders, or names on the hub.
struct ModelPlaces {
  std::string encoder, llm;
};

/// Writes `folder` for `AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)` of transformers: an
/// adapter with modeling_layalign.py and generation_config.json, whose config.json says besides what an adapter's does
/// where the models are, what they must be, and how the last stage asked. `experiment`: that of adapter.config. Errors:
/// as write_adapter.
void export_huggingface(const std::filesystem::path& folder, const AdapterDescription& adapter,
                        const Experiment& experiment, const ModelPlaces& places,
                        const checkpoints_tools::TensorMap& tensors);

}  // namespace layalign::trainer
