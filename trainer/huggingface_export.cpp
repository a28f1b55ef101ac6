#include "trainer/huggingface_export.h"

#include <nlohmann/json.hpp>

#include "checkpoints_tools/python_model.h"
#include "configs/languages.h"
#include "data/text_corpus.h"
#include "data/tokenizer.h"
#include "trainer/checkpoint_place.h"

namespace layalign::trainer {
namespace {

using Json = nlohmann::ordered_json;

/// What the LLM reads behind the source, with {query} and {language} in place of them; null where it reads nothing.
Json prompt_template(const configs::RunConfig& config) {
  const configs::StageConfig& stage = config.stages.back();
  if (!stage.prompt) return nullptr;
  return data::prompt_of(data::prompt_kind_of(stage.corpus), "{query}", "{language}");
}

Json languages() {
  Json list = Json::array();
  for (const configs::Language& language : configs::kLanguages) {
    list.push_back({{"name", language.name}, {"code", language.code}, {"nllb_code", language.nllb_code}});
  }
  return list;
}

/// What both tokenizers make of a text, so that Python can see whether its own do the same; null where no stage has
/// text.
Json tokenizer_check(const data::Vocabulary& vocabulary) {
  if (!vocabulary.encoder || !vocabulary.llm) return nullptr;
  const std::string text = "Tom ana matofaa 3; 5 + 7 = 12.\n\n### Response: вот 三 วันนี้";
  return {{"text", text}, {"encoder", vocabulary.encoder->encode(text)}, {"llm", vocabulary.llm->encode(text)}};
}

/// Of a class in modeling_layalign.py.
std::string python_class(const std::string& name) { return std::string(checkpoints_tools::kPythonModule) + "." + name; }

Json python_config(const AdapterDescription& adapter, const Experiment& experiment, const ModelPlaces& places) {
  Json config = adapter_config(adapter);
  config["encoder"] = places.encoder;
  config["llm"] = places.llm;
  config.update({{"architectures", {"LayAlignForCausalLM"}},
                 {"auto_map",
                  {{"AutoConfig", python_class("LayAlignConfig")},
                   {"AutoModelForCausalLM", python_class("LayAlignForCausalLM")},
                   {"AutoProcessor", python_class("LayAlignProcessor")}}},
                 {"torch_dtype", adapter.config.parallel.precision},
                 {"encoder_type", experiment.encoder.model_type},
                 {"encoder_depth", experiment.encoder.depth},
                 {"llm_type", experiment.llm.model_type},
                 {"llm_depth", experiment.llm.layers},
                 {"prompt_template", prompt_template(adapter.config)},
                 {"tokenizer_check", tokenizer_check(experiment.vocabulary)},
                 {"languages", languages()}});
  return config;
}

/// As layalign-eval generates: greedily, to any of the LLM's end tokens.
Json generation_config(const AdapterDescription& adapter, const model::LlmConfig& llm) {
  return {{"do_sample", false},
          {"max_new_tokens", adapter.config.eval.max_new_tokens},
          {"bos_token_id", llm.bos_id},
          {"eos_token_id", llm.eos_ids},
          {"pad_token_id", llm.eos_id}};
}

std::string in_quotes(const std::string& text) { return Json(text).dump(); }

CardUse card_use(const AdapterDescription& adapter) {
  const std::string models = "encoder=" + in_quotes(adapter.encoder) + ", llm=" + in_quotes(adapter.llm);
  return {"transformers",
          "| `config.json` | the models, layers, kinds, sizes, the prompt |\n| `generation_config.json` | greedy, the "
          "end tokens |\n| `modeling_layalign.py` | the model for transformers, 4.51 to 5 |\n",
          "With torch, transformers, safetensors, sentencepiece and protobuf. `encoder` and `llm` may be folders; what "
          "`config.json` names is taken where they are left out.\n\n```python\nfrom transformers import "
          "AutoModelForCausalLM, AutoProcessor\n\nfolder = \"...\"  # this one\nmodels = dict(" +
              models +
              ")\nmodel = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, **models)\nprocessor = "
              "AutoProcessor.from_pretrained(folder, trust_remote_code=True, **models)\nbatch = processor([\"...\"], "
              "language=\"Swahili\")\nprint(processor.decode(model.generate(**batch)))\n```\n"};
}

}  // namespace

void export_huggingface(const std::filesystem::path& folder, const AdapterDescription& adapter,
                        const Experiment& experiment, const ModelPlaces& places,
                        const checkpoints_tools::TensorMap& tensors) {
  const auto text = [](const Json& json) { return json.dump(2) + "\n"; };
  write_adapter(
      folder, tensors,
      {{kAdapterConfig, text(python_config(adapter, experiment, places))},
       {"generation_config.json", text(generation_config(adapter, experiment.llm))},
       {std::string(checkpoints_tools::kPythonModule) + ".py", std::string(checkpoints_tools::python_model())},
       {kModelCard, adapter_card(adapter, card_use(adapter))}});
}

}  // namespace layalign::trainer
