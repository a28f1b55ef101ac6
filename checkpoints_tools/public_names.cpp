#include "checkpoints_tools/public_names.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "checkpoints_tools/error.h"
#include "checkpoints_tools/safetensors_header.h"

namespace layalign::checkpoints_tools {
namespace {

const std::string kEndBoundary = "mapping.end_boundary";  // in both, of other shapes
const std::string kGates = "gates";
constexpr std::string_view kGateBegin = "model_llm.model.model.layers.";
constexpr std::string_view kGateEnd = ".self_attn.adaption_gate";

struct Pair {
  std::string ours, publics;
};

/// The tensors that have one name each and the same form in both. fc3 is there only in the structure MLP.
std::vector<Pair> paired_names() {
  std::vector<Pair> pairs;
  for (const char* part : {".weight", ".bias"}) {
    for (const char* layer : {"linear1", "linear2"}) {
      pairs.push_back({std::string("mapping.") + layer + part, std::string("mapping.mlp.") + layer + part});
    }
    for (const char* layer : {"fc1", "fc2", "fc3"}) {
      pairs.push_back(
          {std::string("aligner.") + layer + part, std::string("encoder_aligner.projector.") + layer + part});
    }
  }
  return pairs;
}

bool is_optional(const std::string& ours) { return ours.starts_with("aligner.fc3."); }

std::string gate_name(int64_t layer) { return std::string(kGateBegin) + std::to_string(layer) + std::string(kGateEnd); }

/// The LLM layer of a gate's public name; nothing where it is another name.
std::optional<int64_t> gate_layer(const std::string& name) {
  if (!name.starts_with(kGateBegin) || !name.ends_with(kGateEnd)) return std::nullopt;
  int64_t layer = 0;
  std::from_chars(name.data() + kGateBegin.size(), name.data() + name.size(), layer);
  // Written again, so that "07" or "+7" is no second name of layer 7.
  return layer >= 0 && name == gate_name(layer) ? std::optional(layer) : std::nullopt;
}

std::string layers_text(const std::vector<int64_t>& layers) {
  std::string text = "[";
  for (const int64_t layer : layers) text += (text.size() > 1 ? ", " : "") + std::to_string(layer);
  return text + "]";
}

/// What of `ours` the public code has no place for, a line each.
std::string unplaced(const TensorMap& ours) {
  std::string text;
  const auto has = [&](const std::string& name) { return ours.contains(name); };
  if (has("gates.weight") || has("gates.bias"))
    text += "\n  a dynamic gate (gates.weight, gates.bias): its gates are scalars";
  else if (!has(kGates))
    text += "\n  no gate (gates is missing): it always has a gate a layer";
  if (!has("mapping.linear1.weight"))
    text += "\n  no mapping: it always has one";
  else if (!has("mapping.linear2.weight"))
    text += "\n  a linear mapping (mapping.linear1 alone): its mapping has two layers";
  if (!has("aligner.fc2.weight"))
    text += "\n  no aligner: it always has one";
  else if (!has("aligner.fc1.weight"))
    text += "\n  the aligner uniform_mean (aligner.fc1 is missing): its aligner learns the mixture";
  if (!text.empty()) return text;  // what is missing follows from the kinds

  std::set<std::string> known{kGates, kEndBoundary};
  for (const auto& [name, publics] : paired_names()) {
    known.insert(name);
    if (!has(name) && !is_optional(name)) text += "\n  " + name + " is missing";
  }
  if (has("aligner.fc3.weight") != has("aligner.fc3.bias")) text += "\n  aligner.fc3 is there in half";
  if (!has(kEndBoundary)) text += "\n  " + kEndBoundary + " is missing";
  for (const auto& [name, tensor] : ours) {
    if (!known.contains(name)) text += "\n  " + in_quotes(name) + ": unknown";
  }
  return text;
}

void check_no_repeats(const std::vector<int64_t>& layers) {
  const std::set<int64_t> seen(layers.begin(), layers.end());
  if (seen.size() != layers.size() || (!seen.empty() && *seen.begin() < 0)) {
    throw CheckpointError("language layers " + layers_text(layers) + ": expected layers from 0, each once");
  }
}

/// The gates of a public checkpoint by layer, each [1].
std::map<int64_t, at::Tensor> gates_of(const TensorMap& publics) {
  std::map<int64_t, at::Tensor> gates;
  for (const auto& [name, tensor] : publics) {
    if (const auto layer = gate_layer(name)) gates.emplace(*layer, tensor);
  }
  return gates;
}

/// What is wrong with a public checkpoint, a line each.
std::string public_problems(const TensorMap& publics, const std::map<int64_t, at::Tensor>& gates) {
  std::string text;
  for (const auto& [name, tensor] : publics) {
    if (!is_public_name(name)) text += "\n  " + in_quotes(name) + ": unknown";
  }
  for (const auto& [ours, name] : paired_names()) {
    if (!publics.contains(name) && !is_optional(ours)) text += "\n  " + name + " is missing";
  }
  const auto boundary = publics.find(kEndBoundary);
  if (boundary == publics.end()) {
    text += "\n  " + kEndBoundary + " is missing";
  } else if (boundary->second.dim() != 3 || boundary->second.numel() != boundary->second.size(2)) {
    text += "\n  " + kEndBoundary + ": expected [1, 1, D], got " + form_of(boundary->second);
  }
  if (gates.empty()) text += "\n  " + std::string(kGateBegin) + "*" + std::string(kGateEnd) + " is missing";
  for (const auto& [layer, gate] : gates) {
    if (gate.sizes() != at::IntArrayRef({1}) || gate.scalar_type() != gates.begin()->second.scalar_type()) {
      text += "\n  " + gate_name(layer) + ": expected [1] in one dtype for all gates, got " + form_of(gate);
    }
  }
  return text;
}

}  // namespace

bool is_public_name(const std::string& name) {
  static const std::vector<Pair> pairs = paired_names();
  return name == kEndBoundary || gate_layer(name) ||
         std::ranges::any_of(pairs, [&](const Pair& pair) { return pair.publics == name; });
}

bool is_frozen_name(const std::string& name) {
  return !is_public_name(name) && (name.starts_with("model_llm.") || name.starts_with("encoder_mt."));
}

TensorMap to_public(const TensorMap& ours, const std::vector<int64_t>& language_layers) {
  if (const std::string text = unplaced(ours); !text.empty()) {
    throw CheckpointError("the public code cannot hold these trained weights:" + text +
                          "\nexport them as an adapter (--format adapter)");
  }
  check_no_repeats(language_layers);
  const at::Tensor& gates = ours.at(kGates);
  if (gates.sizes() != at::IntArrayRef({static_cast<int64_t>(language_layers.size())})) {
    throw CheckpointError("gates: expected one for each of the language layers " + layers_text(language_layers) +
                          ", got " + form_of(gates) + "; is this the config that they were trained with?");
  }
  TensorMap publics;
  for (const auto& [name, public_name] : paired_names()) {
    if (ours.contains(name)) publics.emplace(public_name, ours.at(name));
  }
  publics.emplace(kEndBoundary, ours.at(kEndBoundary).view({1, 1, -1}));
  for (size_t i = 0; i < language_layers.size(); ++i) {
    publics.emplace(gate_name(language_layers[i]), gates.narrow(0, static_cast<int64_t>(i), 1));
  }
  return publics;
}

TensorMap from_public(const TensorMap& publics, std::vector<int64_t>& language_layers) {
  const std::map<int64_t, at::Tensor> gates = gates_of(publics);
  if (const std::string text = public_problems(publics, gates); !text.empty()) {
    throw CheckpointError("not the trained weights of the public code:" + text);
  }
  std::vector<int64_t> found;
  for (const auto& [layer, gate] : gates) found.push_back(layer);
  if (language_layers.empty()) language_layers = found;
  check_no_repeats(language_layers);
  std::vector<int64_t> wanted = language_layers;
  std::ranges::sort(wanted);
  if (wanted != found) {
    throw CheckpointError("the gates are those of the language layers " + layers_text(found) + ", but " +
                          layers_text(language_layers) + " were given");
  }
  TensorMap ours;
  for (const auto& [name, public_name] : paired_names()) {
    if (publics.contains(public_name)) ours.emplace(name, publics.at(public_name));
  }
  ours.emplace(kEndBoundary, publics.at(kEndBoundary).flatten());
  std::vector<at::Tensor> in_order;
  for (const int64_t layer : language_layers) in_order.push_back(gates.at(layer));
  ours.emplace(kGates, at::cat(in_order));
  return ours;
}

}  // namespace layalign::checkpoints_tools
