#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "checkpoints_tools/tensor_map.h"
#include "configs/schema.h"
#include "model/trainables.h"

namespace layalign::trainer {

/// The kinds and sizes that trained weights show in their names and shapes. What they do not show is 0: the encoder
/// layers of a uniform mean, and the language layers of one without a gate. `where` names the weights in messages.
/// Errors: CheckpointError naming EVERY tensor that is missing, unexpected or of a shape that does not fit the others.
model::TrainableSizes infer_sizes(const checkpoints_tools::TensorMap& tensors, const std::string& where);

/// The names of configs for the kinds: "mlp", "layer_wise", "Linear", "scalar".
std::string mapping_name(const model::TrainableSizes& sizes);
std::string aligner_name(const model::TrainableSizes& sizes);
std::string structure_name(const model::TrainableSizes& sizes);
std::string gate_name(const model::TrainableSizes& sizes);

/// Refuses a config that says other kinds than the weights show.
/// Errors: ConfigError naming every key that differs.
void check_kinds(const configs::RunConfig& config, const model::TrainableSizes& sizes);

/// Layers of both models that the aligner joins, in its order.
struct AdapterLayers {
  std::vector<int64_t> encoder;   ///< of hidden_states
  std::vector<int64_t> language;  ///< of the LLM
};

/// The layers that a config means for weights of these sizes. The folders of the models are read only where nothing
/// else tells how deep they are (`middle` and `last`, a uniform mean). Errors: ConfigError where there are other
/// numbers of layers than in the weights; ModelError where a folder is needed and cannot be read.
AdapterLayers resolve_layers(const configs::RunConfig& config, const model::TrainableSizes& sizes);

}  // namespace layalign::trainer
