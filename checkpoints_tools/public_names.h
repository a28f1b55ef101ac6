#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoints_tools/tensor_map.h"

namespace layalign::checkpoints_tools {

// The names of the public LayAlign code, and those of this project:
//
//     mapping.mlp.linear{1,2}.{weight,bias}                             mapping.linear{1,2}.{weight,bias}
//     mapping.end_boundary [1, 1, D]                                    mapping.end_boundary [D]
//     encoder_aligner.projector.fc{1,2,3}.{weight,bias}                 aligner.fc{1,2,3}.{weight,bias}
//     model_llm.model.model.layers.{l}.self_attn.adaption_gate [1]      gates [L], in the aligner's order of layers
//
// Both directions keep every dtype and every bit.

/// Whether the name is one of the public code's trained tensors.
bool is_public_name(const std::string& name);

/// Whether the name is one of the frozen models' weights, which the public code saves beside the trained ones.
bool is_frozen_name(const std::string& name);

/// Trained tensors under the public code's names. `language_layers`: the adapted LLM layers, [i] being the one that
/// gates[i] scales. Errors: CheckpointError naming EVERYTHING that the public code has no place for (dynamic gate, no
/// gate, linear or no mapping, uniform mean, no aligner, unknown names), a list of layers that does not fit, or one
/// with repeats.
TensorMap to_public(const TensorMap& ours, const std::vector<int64_t>& language_layers);

/// The other direction; `publics` holds trained tensors alone. The gates are put in the order of `language_layers`, or,
/// where that is empty, of ascending layers; `language_layers` then gets that order. Errors: CheckpointError naming
/// every tensor that is unknown, missing or of a shape that does not fit, and layers that differ from those of the
/// gates.
TensorMap from_public(const TensorMap& publics, std::vector<int64_t>& language_layers);

}  // namespace layalign::checkpoints_tools
