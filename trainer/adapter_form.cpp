#include "trainer/adapter_form.h"

#include <algorithm>
#include <optional>

#include "checkpoints_tools/error.h"
#include "checkpoints_tools/safetensors_header.h"
#include "configs/error.h"
#include "trainer/experiment.h"

namespace layalign::trainer {
namespace {

using checkpoints_tools::CheckpointError;
using checkpoints_tools::TensorMap;
using configs::ConfigError;
using model::AlignerKind;
using model::GateKind;
using model::MappingKind;

/// Sizes of the dimension `dim` of a tensor; 0 where there is no such tensor or dimension.
int64_t size_of(const TensorMap& tensors, const std::string& name, int64_t dim) {
  const auto found = tensors.find(name);
  return found != tensors.end() && dim < found->second.dim() ? found->second.size(dim) : 0;
}

/// The first that is not 0.
int64_t first_of(std::initializer_list<int64_t> sizes) {
  for (const int64_t size : sizes) {
    if (size != 0) return size;
  }
  return 0;
}

/// What the names say, a half of a pair being enough, and the sizes that the shapes suggest.
model::TrainableSizes suggested_sizes(const TensorMap& tensors) {
  const auto has = [&](const std::string& layer) {
    return tensors.contains(layer + ".weight") || tensors.contains(layer + ".bias");
  };
  model::TrainableSizes sizes;
  if (!has("mapping.linear2")) sizes.mapping = has("mapping.linear1") ? MappingKind::kLinear : MappingKind::kNone;
  if (!has("aligner.fc1")) sizes.aligner = has("aligner.fc2") ? AlignerKind::kUniformMean : AlignerKind::kNone;
  if (has("gates"))
    sizes.gate = GateKind::kDynamic;
  else if (!tensors.contains("gates"))
    sizes.gate = GateKind::kNone;
  sizes.mlp = has("aligner.fc3");
  sizes.encoder_width =
      first_of({size_of(tensors, "mapping.linear1.weight", 1), size_of(tensors, "aligner.fc2.weight", 1)});
  sizes.llm_width = first_of({size_of(tensors, "mapping.end_boundary", 0), size_of(tensors, "aligner.fc2.weight", 0)});
  sizes.encoder_layers = size_of(tensors, "aligner.fc1.weight", 1);
  sizes.language_layers = first_of({size_of(tensors, "gates", 0), size_of(tensors, "gates.weight", 0),
                                    size_of(tensors, "aligner.fc1.weight", 0) / 2});
  return sizes;
}

std::string layers_mismatch(const char* key, const std::vector<int64_t>& layers, int64_t expected) {
  const auto count = static_cast<int64_t>(layers.size());
  if (expected == 0 || count == expected) return "";
  return std::string("\n  model.") + key + " means " + std::to_string(count) + " layers, the weights have " +
         std::to_string(expected);
}

/// The layers that need no model folder; nothing where they do.
std::optional<std::vector<int64_t>> plain_layers(const configs::LayerList& layers, int64_t count, const char* key) {
  using Kind = configs::LayerList::Kind;
  if (layers.kind == Kind::kMiddle || layers.kind == Kind::kLast) return std::nullopt;
  if (count == 0 && (layers.kind == Kind::kDefault || layers.kind == Kind::kAll)) return std::nullopt;
  // Too many of them are a mismatch, which is told with all others.
  return resolve_layers(layers, std::max(count, layers.count), count, key);
}

}  // namespace

model::TrainableSizes infer_sizes(const TensorMap& tensors, const std::string& where) {
  const model::TrainableSizes sizes = suggested_sizes(tensors);
  std::map<std::string, std::vector<int64_t>> expected;
  for (const auto& [name, shape] : model::trainable_layout(sizes)) expected.emplace(name, shape);
  std::string problems;
  for (const auto& [name, shape] : expected) {
    const auto found = tensors.find(name);
    const std::string text = c10::str(at::IntArrayRef(shape));
    if (found == tensors.end()) {
      problems += "\n  missing: " + name + " " + text;
    } else if (found->second.sizes() != at::IntArrayRef(shape)) {
      problems +=
          "\n  wrong shape: " + name + ": expected " + text + ", got " + checkpoints_tools::form_of(found->second);
    }
  }
  for (const auto& [name, tensor] : tensors) {
    if (!expected.contains(name)) problems += "\n  unexpected: " + checkpoints_tools::in_quotes(name);
  }
  if (expected.empty()) problems += "\n  it holds neither a mapping nor an aligner";
  if (!problems.empty()) throw CheckpointError(where + ": not trained weights of layalign:" + problems);
  return sizes;
}

std::string mapping_name(const model::TrainableSizes& sizes) {
  if (sizes.mapping == MappingKind::kNone) return "none";
  return sizes.mapping == MappingKind::kLinear ? "linear" : "mlp";
}

std::string aligner_name(const model::TrainableSizes& sizes) {
  if (sizes.aligner == AlignerKind::kNone) return "none";
  return sizes.aligner == AlignerKind::kUniformMean ? "uniform_mean" : "layer_wise";
}

std::string structure_name(const model::TrainableSizes& sizes) { return sizes.mlp ? "MLP" : "Linear"; }

std::string gate_name(const model::TrainableSizes& sizes) {
  if (sizes.gate == GateKind::kNone) return "none";
  return sizes.gate == GateKind::kDynamic ? "dynamic" : "scalar";
}

void check_kinds(const configs::RunConfig& config, const model::TrainableSizes& sizes) {
  std::string problems;
  const auto check = [&](const char* key, const std::string& said, const std::string& shown) {
    if (said != shown) problems += std::string("\n  model.") + key + ": " + said + ", but the weights show " + shown;
  };
  check("mapping", config.model.mapping, mapping_name(sizes));
  check("aligner", config.model.aligner, aligner_name(sizes));
  if (sizes.aligner != AlignerKind::kNone) {
    check("structure", config.model.structure, structure_name(sizes));
    check("gate", config.model.gate, gate_name(sizes));
  }
  if (!problems.empty()) throw ConfigError("this is not the config that these weights were trained with:" + problems);
}

AdapterLayers resolve_layers(const configs::RunConfig& config, const model::TrainableSizes& sizes) {
  AdapterLayers layers;
  if (sizes.aligner == AlignerKind::kNone) return layers;
  const auto encoder = plain_layers(config.model.encoder_layers, sizes.encoder_layers, "model.encoder_layers");
  const auto language = plain_layers(config.model.language_layers, sizes.language_layers, "model.language_layers");
  if (encoder && language) {
    layers = {*encoder, *language};
  } else {
    const Experiment experiment = prepare_models(config, /*needs_text=*/false);
    layers = {experiment.encoder_layers, experiment.language_layers};
  }
  const std::string problems = layers_mismatch("encoder_layers", layers.encoder, sizes.encoder_layers) +
                               layers_mismatch("language_layers", layers.language, sizes.language_layers);
  if (!problems.empty()) throw ConfigError("this is not the config that these weights were trained with:" + problems);
  return layers;
}

}  // namespace layalign::trainer
