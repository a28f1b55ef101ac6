#include "model/hf_config.h"

#include <algorithm>

#include "configs/error.h"
#include "configs/strict_json.h"
#include "model/error.h"

namespace layalign::model {
namespace {

/// Fields of every config.json that describe how a model was saved, trained or is to be generated from.
constexpr std::initializer_list<const char*> kHarmless = {
    "_attn_implementation_autoset", "_name_or_path", "add_cross_attention", "architectures", "attention_dropout",
    "attn_implementation", "bad_words_ids", "begin_suppress_tokens", "bos_token_id", "chunk_size_feed_forward",
    "classifier_dropout", "cross_attention_hidden_size", "decoder_start_token_id", "diversity_penalty", "do_sample",
    "dtype", "early_stopping", "encoder_no_repeat_ngram_size", "eos_token_id", "exponential_decay_length_penalty",
    "finetuning_task", "forced_bos_token_id", "forced_eos_token_id", "gradient_checkpointing", "hidden_dropout",
    "id2label", "initializer_factor", "initializer_range", "is_encoder_decoder", "keys_to_ignore_at_inference",
    "label2id", "length_penalty", "max_length", "max_sequence_length", "min_length", "no_repeat_ngram_size", "num_beam_groups", "num_beams",
    "num_return_sequences", "output_attentions", "output_hidden_states", "output_past", "output_scores", "pad_token_id",
    "prefix", "pretraining_tp", "problem_type", "remove_invalid_values", "repetition_penalty",
    "resid_pdrop", "return_dict", "return_dict_in_generate", "sep_token_id", "suppress_tokens", "task_specific_params",
    "temperature", "tf_legacy_loss", "tokenizer_class", "top_k", "top_p", "torch_dtype", "torchscript",
    "transformers_version", "typical_p", "unsloth_version", "use_bfloat16", "use_cache"};

}  // namespace

std::optional<std::vector<int64_t>> parse_token_ids(const nlohmann::json& field) {
  std::vector<int64_t> ids;
  if (field.is_null()) return ids;
  for (const auto& id : field.is_array() ? field : nlohmann::json::array({field})) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0) return std::nullopt;
    ids.push_back(id.get<int64_t>());
  }
  return ids;
}

HfConfig::HfConfig(const std::filesystem::path& folder) : folder_(folder) {
  const auto path = folder / "config.json";
  if (!std::filesystem::is_directory(folder)) {
    throw ModelError(folder.string() + ": no such model folder; expected a Hugging Face folder with config.json");
  }
  try {
    fields_ = configs::parse_json(configs::read_text_file(path), path.string());
  } catch (const std::exception& error) {
    throw ModelError(error.what());
  }
  if (!fields_.is_object()) throw ModelError(path.string() + ": expected a JSON object");
  model_type_ = text_or("model_type", "");
  if (model_type_.empty()) throw ModelError(path.string() + ": field 'model_type' is missing");
  if (!value("quantization_config").is_null()) {
    refuse("quantization_config", "quantised weights are not supported; use the folder of the unquantised model");
  }
  if (!value("auto_map").is_null()) {
    refuse("auto_map", "this model brings code of its own, which is never run; use the folder of a plain " + model_type_ + " model");
  }
  if (!value("pruned_heads").empty()) refuse("pruned_heads", "pruned models are not supported");
  ignore(kHarmless);
}

const nlohmann::json& HfConfig::value(const std::string& key) {
  static const nlohmann::json kNull;
  seen_.insert(key);
  const auto found = fields_.find(key);
  return found == fields_.end() ? kNull : *found;
}

int64_t HfConfig::count(const std::string& key) {
  if (value(key).is_null()) {
    throw ModelError((folder_ / "config.json").string() + ": field '" + key + "' is missing (model_type " + model_type_ + ")");
  }
  return count_or(key, 0);
}

int64_t HfConfig::count_or(const std::string& key, int64_t fallback) {
  const auto& field = value(key);
  if (field.is_null()) return fallback;
  if (!field.is_number_integer() || field.get<int64_t>() <= 0) wrong_type(key, "a positive integer");
  return field.get<int64_t>();
}

double HfConfig::number_or(const std::string& key, double fallback) {
  const auto& field = value(key);
  if (field.is_null()) return fallback;
  if (!field.is_number()) wrong_type(key, "a number");
  return field.get<double>();
}

bool HfConfig::flag_or(const std::string& key, bool fallback) {
  const auto& field = value(key);
  if (field.is_null()) return fallback;
  if (!field.is_boolean()) wrong_type(key, "true or false");
  return field.get<bool>();
}

std::string HfConfig::text_or(const std::string& key, const std::string& fallback) {
  const auto& field = value(key);
  if (field.is_null()) return fallback;
  if (!field.is_string()) wrong_type(key, "a string");
  return field.get<std::string>();
}

std::optional<int64_t> HfConfig::token_id(const std::string& key) {
  const auto ids = token_ids(key);
  return ids.empty() ? std::nullopt : std::optional(ids.front());
}

std::vector<int64_t> HfConfig::token_ids(const std::string& key) {
  const auto ids = parse_token_ids(value(key));
  if (!ids) wrong_type(key, "a token id");
  return *ids;
}

void HfConfig::refuse(const std::string& key, const std::string& why) const {
  const auto found = fields_.find(key);
  throw ModelError((folder_ / "config.json").string() + ": field '" + key + "' is " +
                   (found == fields_.end() ? "missing" : found->dump()) + ": " + why);
}

void HfConfig::wrong_type(const std::string& key, const std::string& expected) const { refuse(key, "expected " + expected); }

void HfConfig::ignore(std::initializer_list<const char*> keys) {
  for (const char* key : keys) seen_.insert(key);
}

void HfConfig::finish(const std::vector<std::string>& accepted) const {
  std::string unknown;
  for (const auto& [key, field] : fields_.items()) {
    if (field.is_null() || seen_.contains(key) || std::find(accepted.begin(), accepted.end(), key) != accepted.end()) continue;
    unknown += (unknown.empty() ? "'" : ", '") + key + "'";
  }
  if (unknown.empty()) return;
  throw ModelError((folder_ / "config.json").string() + ": unsupported field " + unknown + " of a " + model_type_ +
                   " model. If it changes nothing in the forward pass, list it under model.ignore_fields");
}

}  // namespace layalign::model
