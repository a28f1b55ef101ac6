#include "tests/parity/golden.h"

#include <nlohmann/json.hpp>

namespace layalign::test {
namespace {

const std::string kFolder = LAYALIGN_TEST_DATA "/golden/";

/// "mt5-llama-gqa-stage1-Linear" -> mt5 and llama-gqa
std::pair<std::string, std::string> model_names(const std::string& name) {
  const auto dash = name.find('-');
  return {name.substr(0, dash), name.substr(dash + 1, name.find("-stage") - dash - 1)};
}

}  // namespace

Golden::Golden(const std::string& name) : file_(kFolder + name + ".safetensors") {
  const auto [encoder, llm] = model_names(name);
  encoder_folder = kFolder + "models/" + encoder;
  llm_folder = kFolder + "models/" + llm;
  const auto& metadata = file_.metadata();
  sizes.mlp = metadata.at("structure") == "MLP";
  const auto is = [&](const char* key, const char* value) { return metadata.contains(key) && metadata.at(key) == value; };
  if (is("mapping", "linear")) sizes.mapping = model::MappingKind::kLinear;
  if (is("mapping", "none")) sizes.mapping = model::MappingKind::kNone;
  if (is("aligner", "uniform_mean")) sizes.aligner = model::AlignerKind::kUniformMean;
  if (is("aligner", "none")) sizes.aligner = model::AlignerKind::kNone;
  if (is("gate", "dynamic")) sizes.gate = model::GateKind::kDynamic;
  if (is("gate", "none")) sizes.gate = model::GateKind::kNone;
  encoder_layers = nlohmann::json::parse(metadata.at("encoder_layers")).get<std::vector<int64_t>>();
  language_layers = nlohmann::json::parse(metadata.at("language_layers")).get<std::vector<int64_t>>();
  lr = std::stod(metadata.at("lr"));
  eps = std::stod(metadata.at("eps"));
  for (const auto& sample : nlohmann::json::parse(metadata.at("samples"))) {
    samples.push_back({sample["source"], sample["prompt"], sample["target"], "none", name + "[" + std::to_string(samples.size()) + "]"});
  }
}

at::Tensor Golden::flat(const std::string& prefix, const model::TrainableLayout& layout) const {
  std::vector<at::Tensor> parts;
  for (const auto& [name, shape] : layout) parts.push_back(tensor(prefix + "." + name).flatten());
  return at::cat(parts);
}

System::System(const Golden& golden, const dist::ProcessGrid& grid, model::Recompute recompute, at::ScalarType type)
    : encoder_layers(golden.encoder_layers) {
  encoder = model::load_encoder(golden.encoder_folder, grid.device, type);
  const auto config = model::LlmConfig::read(golden.llm_folder);
  llm = std::make_unique<model::Llm>(golden.llm_folder, config, grid.tp, grid.device, type);
  auto sizes = golden.sizes;
  sizes.encoder_layers = static_cast<int64_t>(golden.encoder_layers.size());
  sizes.language_layers = static_cast<int64_t>(golden.language_layers.size());
  sizes.encoder_width = encoder->info().width;
  sizes.llm_width = config.hidden_size;
  trainables = std::make_unique<model::Trainables>(sizes, grid.device, trainer::TrainStep::riders(grid));
  trainables->masters().copy_(golden.flat("init", trainables->layout()));
  const auto form = sizes.mapping == model::MappingKind::kNone ? data::InputForm::kText : data::InputForm::kMapped;
  layalign = std::make_unique<model::LayAlign>(*llm, *trainables, golden.language_layers, form, recompute);
}

double relative_error(const at::Tensor& got, const at::Tensor& expected) {
  return (got - expected).abs().max().item<double>() / expected.abs().max().item<double>();
}

}  // namespace layalign::test
