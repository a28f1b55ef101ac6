#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "checkpoints_tools/tensor_map.h"

namespace layalign::checkpoints_tools {

/// Trained weights that came under other names, now under ours.
struct ForeignWeights {
  TensorMap tensors;
  std::vector<int64_t> language_layers;  ///< LLM layers in the order of the gates; empty where nothing tells
  std::string names;                     ///< whose names they had: "the public code's", "ours", "ours behind 'init.'"
  int64_t passed_over = 0;               ///< tensors that are no trained ones: frozen weights, other prefixes
};

/// Reads trained weights from a safetensors file or a Hugging Face folder of them: with the public code's names, among
/// which the frozen models' weights are passed over unread; or with ours, which the oracle uses too, plain or behind
/// `prefix`. Without a prefix, `init.` is found by itself where no name is plain. `language_layers`: the order of the
/// gates; where it is empty, that of the file's metadata, else ascending. Errors: CheckpointError for a pickled file
/// (it names the converter), and as from_public.
ForeignWeights read_foreign(const std::filesystem::path& path, const std::string& prefix,
                            const std::vector<int64_t>& language_layers);

/// The key of a file's metadata for its language layers, a JSON array in the order of the gates.
inline constexpr const char* kLanguageLayersKey = "language_layers";

/// The language layers that a file's metadata tells; empty where it tells none. Errors: CheckpointError.
std::vector<int64_t> language_layers_of(const std::filesystem::path& file);

}  // namespace layalign::checkpoints_tools
