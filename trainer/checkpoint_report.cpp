#include "trainer/checkpoint_report.h"

#include <cmath>

#include "checkpoints_tools/hash.h"
#include "checkpoints_tools/safetensors.h"
#include "configs/error.h"
#include "configs/kinds.h"
#include "configs/reader.h"
#include "model/error.h"
#include "trainer/adapter_form.h"
#include "trainer/run_folder.h"
#include "trainer/training_state.h"

namespace layalign::trainer {
namespace {

namespace fs = std::filesystem;
using checkpoints_tools::CheckpointError;
using checkpoints_tools::TensorMap;
using Json = nlohmann::ordered_json;

Json json_number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

double norm_of(const at::Tensor& tensor) { return tensor.to(at::kDouble).norm().item<double>(); }

Json tensor_entry(const std::string& name, const at::Tensor& tensor, const std::string& dtype) {
  Json entry{{"name", name}, {"dtype", dtype}, {"shape", tensor.sizes().vec()}, {"norm", json_number(norm_of(tensor))}};
  if (tensor.numel() == 0) return entry;
  const at::Tensor values = tensor.to(at::kDouble);
  entry["min"] = json_number(values.min().item<double>());
  entry["max"] = json_number(values.max().item<double>());
  return entry;
}

/// Parameters and norm of what each part's name begins with: "mapping", "aligner", "gates".
Json parts_of(const TensorMap& tensors) {
  Json parts = Json::object();
  std::map<std::string, double> squares;
  for (const auto& [name, tensor] : tensors) {
    const std::string part = name.substr(0, name.find('.'));
    if (!parts.contains(part)) parts[part] = {{"parameters", 0}};
    parts[part]["parameters"] = parts[part]["parameters"].get<int64_t>() + tensor.numel();
    squares[part] += std::pow(norm_of(tensor), 2);
  }
  for (const auto& [part, square] : squares) parts[part]["norm"] = json_number(std::sqrt(square));
  return parts;
}

/// The gates, or of a dynamic gate its biases and the norms of its rows. `layers`: of the LLM, where known.
Json gates_of(const TensorMap& tensors, const std::vector<int64_t>& layers) {
  const bool dynamic = tensors.contains("gates.bias");
  const auto found = tensors.find(dynamic ? "gates.bias" : "gates");
  if (found == tensors.end() || found->second.numel() == 0) return nullptr;
  const at::Tensor values = found->second.to(at::kDouble);
  Json gates{{"min", json_number(values.min().item<double>())},
             {"mean", json_number(values.mean().item<double>())},
             {"max", json_number(values.max().item<double>())}};
  gates["layers"] = layers.empty() ? Json(nullptr) : Json(layers);
  gates[dynamic ? "biases" : "values"] = Json::array();
  for (int64_t i = 0; i < values.numel(); ++i) {
    gates[dynamic ? "biases" : "values"].push_back(json_number(values[i].item<double>()));
    if (dynamic) gates["weight_norms"].push_back(json_number(norm_of(tensors.at("gates.weight")[i])));
  }
  return gates;
}

/// The adapted LLM layers where the run's config or what lies with the weights tells them; else empty.
std::vector<int64_t> known_layers(const fs::path& weights, const std::optional<configs::RunConfig>& config,
                                  const model::TrainableSizes& sizes) {
  try {
    if (config) return resolve_layers(*config, sizes).language;
    const std::vector<int64_t> layers = recorded_language_layers(weights);
    return static_cast<int64_t>(layers.size()) == sizes.language_layers ? layers : std::vector<int64_t>{};
  } catch (const CheckpointError&) {
    return {};  // verify tells what is wrong with it
  } catch (const configs::ConfigError&) {
    return {};  // the weights are of another config: nothing that a look at them must fail for
  } catch (const model::ModelError&) {
    return {};  // the model is not on this machine
  }
}

Json weights_report(const fs::path& path, const std::optional<configs::RunConfig>& config) {
  const checkpoints_tools::SafetensorsFile file(path);
  TensorMap tensors;
  Json report{
      {"path", path.string()}, {"bytes", file.bytes().size()}, {"xxh3", checkpoints_tools::xxh3_hex(file.bytes())}};
  int64_t parameters = 0;
  Json entries = Json::array();
  for (const auto& [name, info] : file.tensors()) {
    const at::Tensor tensor = tensors.emplace(name, file.read(name)).first->second;
    parameters += tensor.numel();
    entries.push_back(tensor_entry(name, tensor, info.dtype));
  }
  report["parameters"] = parameters;
  std::vector<int64_t> layers;
  try {
    const model::TrainableSizes sizes = infer_sizes(tensors, path.string());
    report["kinds"] = {{"mapping", mapping_name(sizes)}, {"aligner", aligner_name(sizes)}};
    if (sizes.aligner != model::AlignerKind::kNone) {
      report["kinds"].update({{"structure", structure_name(sizes)}, {"gate", gate_name(sizes)}});
    }
    layers = known_layers(path, config, sizes);
  } catch (const CheckpointError&) {
    report["kinds"] = nullptr;  // other tensors than trained weights, which can be looked at as well
  }
  report["parts"] = parts_of(tensors);
  report["tensors"] = entries;
  if (!report["kinds"].is_null()) report["gates"] = gates_of(tensors, layers);
  return report;
}

Json state_report(const fs::path& folder) {
  const TrainingState state = load_training_state(folder);
  const bool scored = state.best_accuracy >= 0;
  return {{"path", folder.string()},
          {"stage_number", state.stage_index + 1},
          {"step", state.step},
          {"elapsed_s", state.elapsed_s},
          {"best_perplexity", json_number(state.best_perplexity)},
          {"best_accuracy", scored ? Json(state.best_accuracy) : Json(nullptr)},
          {"norms",
           {{"trainables", json_number(norm_of(state.masters))},
            {"exp_avg", json_number(norm_of(state.exp_avg))},
            {"exp_avg_sq", json_number(norm_of(state.exp_avg_sq))}}},
          {"world_size", state.world_size},
          {"tp_size", state.tp_size},
          {"threads", state.threads},
          {"fingerprints",
           {{"encoder", state.encoder_fingerprint},
            {"llm", state.llm_fingerprint},
            {"encoder_tokenizer", state.encoder_tokenizer_fingerprint},
            {"llm_tokenizer", state.llm_tokenizer_fingerprint},
            {"corpora", state.corpus_fingerprints}}}};
}

Json stage_report(const fs::path& folder) {
  Json checkpoints = Json::array();
  for (const fs::path& checkpoint : checkpoints_of(folder)) checkpoints.push_back(checkpoint.filename().string());
  return {{"name", folder.filename().string()},
          {"finished", fs::exists(folder / RunFolder::kTrainables)},
          {"best", fs::exists(folder / RunFolder::kBest)},
          {"checkpoints", checkpoints}};
}

/// The newest checkpoint of a stage or run that can be read, null where none can; the newer ones are told.
Json newest_state_report(const CheckpointPlace& place, Json& unreadable) {
  const std::vector<fs::path> stages = place.stages();
  for (auto stage = stages.rbegin(); stage != stages.rend(); ++stage) {
    const std::vector<fs::path> checkpoints = checkpoints_of(*stage);
    for (auto folder = checkpoints.rbegin(); folder != checkpoints.rend(); ++folder) {
      try {
        return state_report(*folder);
      } catch (const CheckpointError& error) {
        unreadable.push_back({{"path", folder->string()}, {"problem", error.what()}});
      }
    }
  }
  return nullptr;
}

/// Adds what there is of a stage or run.
void add_run(const CheckpointPlace& place, const std::optional<configs::RunConfig>& config, Json& report) {
  if (place.kind() == PlaceKind::kRun) report["finished"] = fs::exists(place.path() / RunFolder::kSummary);
  bool ended = false;
  for (const fs::path& stage : place.stages()) {
    ended = report["stages"].emplace_back(stage_report(stage))["finished"].get<bool>() || ended;
  }
  Json unreadable = Json::array();
  const Json checkpoint = newest_state_report(place, unreadable);
  if (!unreadable.empty()) report["unreadable_checkpoints"] = unreadable;
  if (!checkpoint.is_null()) report["checkpoint"] = checkpoint;
  if (ended) {
    report["weights"] = weights_report(place.weights(), config);
  } else if (!checkpoint.is_null()) {
    report["weights"] =
        weights_report(fs::path(checkpoint["path"].get<std::string>()) / RunFolder::kTrainables, config);
  }
}

Json config_report(const configs::RunConfig& config) {
  Json stages = Json::array();
  for (const configs::StageConfig& stage : config.stages) {
    stages.push_back({{"name", stage.name},
                      {"corpus", stage.corpus.format},
                      {"languages", stage.corpus.languages},
                      {"prompt", stage.prompt},
                      {"epochs", stage.epochs},
                      {"global_batch", stage.global_batch},
                      {"lr", stage.lr}});
  }
  return {{"encoder", config.model.encoder},
          {"llm", config.model.llm},
          {"encoder_layers", configs::value_text(config.model.encoder_layers)},
          {"language_layers", configs::value_text(config.model.language_layers)},
          {"precision", config.parallel.precision},
          {"seed", config.seed},
          {"stages", stages}};
}

}  // namespace

Json checkpoint_report(const CheckpointPlace& place) {
  Json report{{"path", place.path().string()}, {"kind", describe(place.kind())}};
  std::optional<configs::RunConfig> config;
  if (const fs::path file = place.run_config(); !file.empty()) {
    try {
      config = configs::load_config(file);
      report["config"] = config_report(*config);
    } catch (const configs::ConfigError& error) {
      report["config"] = {{"unreadable", error.what()}};
    }
  }
  if (place.kind() == PlaceKind::kStage || place.kind() == PlaceKind::kRun) {
    add_run(place, config, report);
    return report;
  }
  if (place.kind() == PlaceKind::kCheckpoint) report["checkpoint"] = state_report(place.checkpoint());
  report["weights"] = weights_report(place.weights(), config);
  return report;
}

}  // namespace layalign::trainer
