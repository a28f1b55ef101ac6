#include "trainer/adapter_export.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>

#include "checkpoints_tools/hash.h"
#include "checkpoints_tools/safetensors.h"
#include "configs/error.h"
#include "configs/languages.h"
#include "trainer/checkpoint_place.h"
#include "trainer/durable_file.h"

namespace layalign::trainer {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// A double-quoted string is the same in YAML as in JSON.
std::string quoted(const std::string& text) { return Json(text).dump(); }

std::string fixed(double value, int digits) {
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}

/// Codes of the stages' languages, and English, which the LLM answers in; empty where the config names none.
std::set<std::string> language_codes(const configs::RunConfig& config) {
  std::set<std::string> codes;
  for (const configs::StageConfig& stage : config.stages) {
    for (const std::string& language : stage.corpus.languages) {
      if (const auto code = configs::language_code(language)) codes.emplace(*code);
    }
  }
  if (!codes.empty()) codes.emplace("en");
  return codes;
}

/// The corpora: the public data by its name, a file of the user's by the file's.
std::vector<std::string> dataset_names(const configs::RunConfig& config) {
  std::vector<std::string> names;
  for (const configs::StageConfig& stage : config.stages) {
    const bool own = stage.corpus.format == "jsonl" || stage.corpus.format == "token_ids";
    const std::string name =
        own && stage.corpus.path ? fs::path(*stage.corpus.path).filename().string() : stage.corpus.format;
    if (std::ranges::find(names, name) == names.end()) names.push_back(name);
  }
  return names;
}

std::string yaml_list(const std::string& key, const auto& values) {
  if (values.empty()) return "";
  std::string text = key + ":\n";
  for (const std::string& value : values) text += "- " + quoted(value) + "\n";
  return text;
}

std::string model_index(const AdapterDescription& adapter) {
  if (adapter.scores.empty()) return "";
  std::string text = "model-index:\n- name: " + quoted(adapter.name) + "\n  results:\n";
  for (const AdapterScore& score : adapter.scores) {
    text += "  - task:\n      type: text-generation\n    dataset:\n      name: " + quoted(score.name) +
            "\n      type: " + quoted(score.name) + "\n    metrics:\n    - type: " + score.metric +
            "\n      value: " + fixed(score.value, 4) + "\n";
  }
  return text;
}

std::string front_matter(const AdapterDescription& adapter, const std::string& library) {
  return "---\nlicense: " + quoted(adapter.license) + "\n" +
         yaml_list("base_model", std::vector<std::string>{adapter.encoder, adapter.llm}) + "library_name: " + library +
         "\n" + yaml_list("language", language_codes(adapter.config)) +
         yaml_list("datasets", dataset_names(adapter.config)) + "pipeline_tag: text-generation\n" +
         model_index(adapter) + "---\n";
}

std::string kinds_text(const model::TrainableSizes& sizes) {
  std::string text = "mapping " + mapping_name(sizes) + ", aligner " + aligner_name(sizes);
  if (sizes.aligner != model::AlignerKind::kNone) {
    text += ", structure " + structure_name(sizes) + ", gate " + gate_name(sizes);
  }
  return text;
}

std::string training_table(const configs::RunConfig& config) {
  std::string text =
      "| stage | corpus | languages | prompt | epochs | global batch | learning rate "
      "|\n|---|---|---|---|---|---|---|\n";
  for (const configs::StageConfig& stage : config.stages) {
    std::string languages;
    for (const std::string& language : stage.corpus.languages) languages += (languages.empty() ? "" : ", ") + language;
    std::array<char, 40> lr{};
    std::snprintf(lr.data(), lr.size(), "%g", stage.lr);
    text += "| " + stage.name + " | " + stage.corpus.format + " | " + languages + " | " +
            (stage.prompt ? "yes" : "no") + " | " + std::to_string(stage.epochs) + " | " +
            std::to_string(stage.global_batch) + " | " + lr.data() + " |\n";
  }
  return text;
}

std::string score_table(const std::vector<AdapterScore>& scores) {
  if (scores.empty()) return "";
  std::string text = "\n## Scores\n\n| | metric | value | samples |\n|---|---|---|---|\n";
  for (const AdapterScore& score : scores) {
    text += "| " + score.name + " | " + score.metric + " | " + fixed(score.value, 4) + " | " +
            (score.samples > 0 ? std::to_string(score.samples) : "") + " |\n";
  }
  return text;
}

/// Refuses a folder with something in it: nothing of the user's is ever replaced.
void check_free(const fs::path& folder) {
  if (!fs::exists(folder)) return;
  if (fs::is_directory(folder) && fs::is_empty(folder)) return;
  throw configs::ConfigError(folder.string() + ": exists already; choose another -o, or remove it");
}

}  // namespace

Json adapter_config(const AdapterDescription& adapter) {
  const model::TrainableSizes& sizes = adapter.sizes;
  Json config{{"format_version", 1}, {"model_type", "layalign"},       {"encoder", adapter.encoder},
              {"llm", adapter.llm},  {"mapping", mapping_name(sizes)}, {"aligner", aligner_name(sizes)}};
  if (sizes.aligner != model::AlignerKind::kNone) {
    config.update({{"structure", structure_name(sizes)},
                   {"gate", gate_name(sizes)},
                   {"encoder_layers", adapter.layers.encoder},
                   {"language_layers", adapter.layers.language}});
  }
  config["encoder_width"] = sizes.encoder_width;
  config["llm_width"] = sizes.llm_width;
  config["stages"] = Json::array();
  for (const configs::StageConfig& stage : adapter.config.stages) {
    config["stages"].push_back({{"name", stage.name},
                                {"corpus", stage.corpus.format},
                                {"languages", stage.corpus.languages},
                                {"prompt", stage.prompt},
                                {"max_source_tokens", stage.max_source_tokens},
                                {"max_target_tokens", stage.max_target_tokens}});
  }
  return config;
}

std::string adapter_card(const AdapterDescription& adapter, const CardUse& use) {
  return front_matter(adapter, use.library) + "\n# " + adapter.name +
         "\n\nA [LayAlign](https://arxiv.org/abs/2502.11405) adapter: it joins the frozen encoder `" + adapter.encoder +
         "` to the frozen LLM `" + adapter.llm +
         "`, so that the LLM reads languages that it hardly knows. This folder holds the trained parts alone; the two "
         "models come from where they are published.\n\n| file | holds |\n|---|---|\n| `adapter.safetensors` | the "
         "trained weights (" +
         kinds_text(adapter.sizes) + ") |\n" + use.files + "\n## Use\n\n" + use.text + "\n## Training\n\n" +
         training_table(adapter.config) + score_table(adapter.scores);
}

void write_adapter(const fs::path& folder, const checkpoints_tools::TensorMap& tensors,
                   const std::vector<std::pair<std::string, std::string>>& texts) {
  check_free(folder);
  const fs::path target = folder.has_filename() ? folder : folder.parent_path();
  std::map<std::string, std::string> metadata;
  for (const auto& [name, text] : texts) {
    if (name == kModelCard) continue;
    metadata[checkpoints_tools::kCompanionChecksumPrefix + name] =
        checkpoints_tools::xxh3_hex(std::as_bytes(std::span(text)));
  }
  write_folder_durably(target, [&](const fs::path& made) {
    checkpoints_tools::write_safetensors(made / kAdapterWeights, checkpoints_tools::as_list(tensors), metadata);
    for (const auto& [name, text] : texts) write_file_durably(made / name, text);
  });
}

void export_adapter(const fs::path& folder, const AdapterDescription& adapter,
                    const checkpoints_tools::TensorMap& tensors) {
  const CardUse use{"layalign", "| `config.json` | layers, kinds and sizes |\n",
                    "In a config of layalign with both models and the keys of `config.json` under "
                    "`model`:\n\n```\nlayalign-eval CONFIG --checkpoint adapter.safetensors --task text --languages "
                    "LANGUAGE\n```\n"};
  write_adapter(folder, tensors,
                {{kAdapterConfig, adapter_config(adapter).dump(2) + "\n"}, {kModelCard, adapter_card(adapter, use)}});
}

}  // namespace layalign::trainer
