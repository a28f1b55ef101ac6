// export and import of layalign-checkpoint.

#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "checkpoints_tools/foreign_weights.h"
#include "checkpoints_tools/public_names.h"
#include "configs/error.h"
#include "configs/reader.h"
#include "launch/checkpoint_commands.h"
#include "launch/checkpoint_output.h"
#include "launch/failure.h"
#include "model/error.h"
#include "trainer/adapter_export.h"
#include "trainer/adapter_form.h"
#include "trainer/adapter_scores.h"
#include "trainer/checkpoint_place.h"
#include "trainer/experiment.h"
#include "trainer/huggingface_export.h"

namespace layalign::launch {
namespace {

namespace fs = std::filesystem;
using checkpoints_tools::TensorMap;

/// The config of --config, or of the run that the path lies in; nothing where there is neither.
std::optional<configs::RunConfig> find_config(const ExportArguments& arguments, const trainer::CheckpointPlace& place) {
  if (!arguments.config.empty()) return configs::load_config(arguments.config);
  const fs::path file = place.run_config();
  return file.empty() ? std::nullopt : std::optional(configs::load_config(file));
}

/// A model's name where the user gave none: the last part of its path, which says nothing of this machine.
std::string last_part(const std::string& path) {
  const fs::path whole = fs::path(path).lexically_normal();
  return (whole.has_filename() ? whole : whole.parent_path()).filename().string();
}

std::string first_given(const std::string& given, const std::string& otherwise) {
  return given.empty() ? otherwise : given;
}

std::map<std::string, std::string> layers_metadata(const std::vector<int64_t>& layers) {
  if (layers.empty()) return {};
  return {{checkpoints_tools::kLanguageLayersKey, nlohmann::json(layers).dump()}};
}

/// What is to be exported.
struct Source {
  trainer::CheckpointPlace place;
  fs::path file;
  TensorMap tensors;
  model::TrainableSizes sizes;
  std::optional<configs::RunConfig> config;
};

/// LLM layers in the order of the gates, and who tells them.
struct ToldLayers {
  std::string by;
  std::vector<int64_t> layers;
};

/// All that tell the adapted LLM layers, which the weights themselves do not.
std::vector<ToldLayers> told_layers(const ExportArguments& arguments, const Source& source) {
  std::vector<ToldLayers> told{
      {"--language-layers", arguments.language_layers},
      {"what lies with " + source.file.string(), trainer::recorded_language_layers(source.file)}};
  std::erase_if(told, [](const ToldLayers& one) { return one.layers.empty(); });
  if (!source.config) return told;
  const std::string file = first_given(arguments.config, source.place.run_config().string());
  try {
    const auto layers = trainer::resolve_layers(*source.config, source.sizes).language;
    if (!layers.empty()) told.push_back({file, layers});
  } catch (const model::ModelError&) {
    if (told.empty()) throw;  // else the model need not be on this machine
  }
  return told;
}

/// What they tell. Errors: ConfigError where they differ, or where gates are there and nobody tells of them.
std::vector<int64_t> language_layers(const ExportArguments& arguments, const Source& source) {
  const std::vector<ToldLayers> told = told_layers(arguments, source);
  for (const ToldLayers& other : told) {
    if (other.layers == told[0].layers) continue;
    throw configs::ConfigError("export: the LLM layers of the gates are " + nlohmann::json(told[0].layers).dump() +
                               " by " + told[0].by + ", but " + nlohmann::json(other.layers).dump() + " by " +
                               other.by + "; drop or mend what is wrong");
  }
  if (!told.empty()) return told[0].layers;
  if (source.sizes.language_layers == 0) return {};
  throw configs::ConfigError("export: nothing tells which LLM layers the " +
                             std::to_string(source.sizes.language_layers) + " gates of " + source.file.string() +
                             " belong to; add --config or --language-layers");
}

/// What an exported folder says of itself. Errors: ConfigError where there is no config.
trainer::AdapterDescription describe_adapter(const ExportArguments& arguments, const Source& source) {
  if (!source.config) {
    throw configs::ConfigError("export: " + source.place.path().string() +
                               " lies in no run, so nothing tells its models; add --config with the config that it was "
                               "trained with");
  }
  const configs::RunConfig& config = *source.config;
  language_layers(arguments, source);  // refuses a config of other layers than lie with the weights
  trainer::AdapterDescription adapter;
  adapter.name = first_given(arguments.name, last_part(config.output));
  adapter.encoder = first_given(arguments.encoder_name, last_part(config.model.encoder));
  adapter.llm = first_given(arguments.llm_name, last_part(config.model.llm));
  adapter.license = first_given(arguments.license, "unknown");
  adapter.config = config;
  adapter.sizes = source.sizes;
  adapter.layers = trainer::resolve_layers(config, source.sizes);
  adapter.scores = trainer::find_scores(source.place, source.tensors, source.sizes);
  return adapter;
}

int tell_of_folder(const ExportArguments& arguments, const std::string& files, size_t scores) {
  std::cout << "wrote " << arguments.output << ": adapter.safetensors, config.json, " << files << "README.md with "
            << scores << " scores\n";
  if (arguments.license.empty()) std::cout << "its licence stands as unknown: --license names one\n";
  std::cout << std::flush;
  return kDone;
}

int export_adapter(const ExportArguments& arguments, const Source& source) {
  const auto adapter = describe_adapter(arguments, source);
  trainer::export_adapter(arguments.output, adapter, source.tensors);
  return tell_of_folder(arguments, "", adapter.scores.size());
}

int export_huggingface(const ExportArguments& arguments, const Source& source) {
  const auto adapter = describe_adapter(arguments, source);
  const auto experiment = trainer::prepare_models(adapter.config, trainer::reads_text(adapter.config));
  const auto place = [](const std::string& given, const fs::path& folder) {
    return first_given(given, fs::absolute(folder).lexically_normal().string());
  };
  trainer::export_huggingface(
      arguments.output, adapter, experiment,
      {place(arguments.encoder_name, experiment.encoder_folder), place(arguments.llm_name, experiment.llm_folder)},
      source.tensors);
  const int code = tell_of_folder(arguments, "generation_config.json, modeling_layalign.py, ", adapter.scores.size());
  if (arguments.encoder_name.empty() || arguments.llm_name.empty()) {
    std::cout << "config.json names models by their folders on this machine: --encoder-name and --llm-name give the "
                 "names that others know\n"
              << std::flush;
  }
  return code;
}

int export_reference(const ExportArguments& arguments, const Source& source) {
  check_output_file(arguments.output, arguments.force);
  const std::vector<int64_t> layers = language_layers(arguments, source);
  const TensorMap publics = checkpoints_tools::to_public(source.tensors, layers);
  write_output_file(arguments.output, publics, layers_metadata(layers));
  std::cout << "wrote " << arguments.output << ": " << publics.size() << " tensors under the public code's names"
            << std::endl;
  return kDone;
}

/// Refuses options that mean nothing in the format.
void check_options(const ExportArguments& arguments) {
  const bool folder = arguments.format != "layalign-reference";
  const bool describes = !arguments.name.empty() || !arguments.encoder_name.empty() || !arguments.llm_name.empty() ||
                         !arguments.license.empty();
  if (folder && arguments.force) {
    throw configs::ConfigError(
        "export: --force replaces a file; a folder is never replaced: choose another -o, or remove it");
  }
  if (folder && !arguments.language_layers.empty()) {
    throw configs::ConfigError("export: this format takes the language layers from the config: drop --language-layers");
  }
  if (!folder && describes) {
    throw configs::ConfigError(
        "export: --name, --encoder-name, --llm-name and --license stand in a model card, which this format has not: "
        "drop them, or choose --format adapter or huggingface");
  }
}

}  // namespace

int export_weights(const ExportArguments& arguments) {
  check_options(arguments);
  check_outside_checkpoints(arguments.output);
  const trainer::CheckpointPlace place(arguments.path);
  Source source{place, place.weights(), trainer::read_weights(place), {}, std::nullopt};
  source.sizes = trainer::infer_sizes(source.tensors, source.file.string());
  source.config = find_config(arguments, place);
  if (source.config) trainer::check_kinds(*source.config, source.sizes);
  std::cout << "read " << source.file.string() << ": " << source.tensors.size() << " tensors\n";
  if (arguments.format == "adapter") return export_adapter(arguments, source);
  if (arguments.format == "huggingface") return export_huggingface(arguments, source);
  return export_reference(arguments, source);
}

int import_weights(const ImportArguments& arguments) {
  check_output_file(arguments.output, arguments.force);
  const auto weights = checkpoints_tools::read_foreign(arguments.path, arguments.prefix, arguments.language_layers);
  trainer::infer_sizes(weights.tensors, arguments.path);
  write_output_file(arguments.output, weights.tensors, layers_metadata(weights.language_layers));
  std::cout << "read " << arguments.path << ": names are " << weights.names << "; " << weights.passed_over
            << " other tensors passed over\nwrote " << arguments.output << ": " << weights.tensors.size() << " tensors"
            << std::endl;
  return kDone;
}

}  // namespace layalign::launch
