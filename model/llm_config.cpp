#include "model/llm_config.h"

#include <algorithm>

#include "configs/error.h"
#include "configs/strict_json.h"
#include "dist/tensor_parallel.h"
#include "model/error.h"

namespace layalign::model {
namespace {

/// Mistral attends to the last `sliding_window` tokens; Qwen2 only where `use_sliding_window` is set.
std::optional<int64_t> read_sliding_window(HfConfig& config) {
  const bool is_mistral = config.model_type() == "mistral";
  if (is_mistral && !config.has("sliding_window")) return 4096;  // transformers' default; null means none
  const bool has_window = !config.value("sliding_window").is_null();
  const bool used = is_mistral || config.flag_or("use_sliding_window", false);
  config.ignore({"max_window_layers", "use_sliding_window"});
  const auto& layer_types = config.value("layer_types");
  bool sliding_layer = false;
  if (layer_types.is_array()) {
    for (const auto& type : layer_types) {
      if (type == "sliding_attention") sliding_layer = true;
      else if (type != "full_attention") config.refuse("layer_types", "only full_attention is supported");
    }
  }
  if (!has_window || !(used || sliding_layer)) return std::nullopt;
  return config.count("sliding_window");
}

/// eos_token_id of generation_config.json; none where it does not say.
std::vector<int64_t> generation_eos_ids(const std::filesystem::path& folder) {
  const auto path = folder / "generation_config.json";
  if (!std::filesystem::exists(path)) return {};
  nlohmann::json fields;
  try {
    fields = configs::parse_json(configs::read_text_file(path), path.string());
  } catch (const std::exception& error) {
    throw ModelError(error.what());
  }
  if (!fields.is_object()) throw ModelError(path.string() + ": expected a JSON object");
  const auto ids = parse_token_ids(fields.value("eos_token_id", nlohmann::json()));
  if (!ids) throw ModelError(path.string() + ": field 'eos_token_id' is neither a token id nor a list of them");
  return *ids;
}

}  // namespace

void LlmConfig::end_targets_with(int64_t id) {
  eos_id = id;
  if (!ends_text(id)) eos_ids.push_back(id);
}

bool LlmConfig::ends_text(int64_t id) const { return std::ranges::find(eos_ids, id) != eos_ids.end(); }

LlmConfig LlmConfig::read(const std::filesystem::path& folder, const std::vector<std::string>& ignored_fields) {
  HfConfig config(folder);
  LlmConfig llm;
  llm.model_type = config.model_type();
  const auto is = [&](const char* type) { return llm.model_type == type; };
  if (!is("llama") && !is("mistral") && !is("qwen2") && !is("qwen3")) {
    config.refuse("model_type", "this LLM is not supported; llama, mistral, qwen2 and qwen3 are");
  }
  llm.qk_norm = is("qwen3");
  llm.hidden_size = config.count("hidden_size");
  llm.intermediate_size = config.count("intermediate_size");
  llm.layers = config.count("num_hidden_layers");
  llm.heads = config.count("num_attention_heads");
  llm.kv_heads = config.count_or("num_key_value_heads", llm.heads);
  if (!is("qwen3") && config.value("head_dim").is_null() && llm.hidden_size % llm.heads != 0) {
    config.refuse("hidden_size", "it is not a multiple of num_attention_heads, and head_dim is not given");
  }
  llm.head_dim = config.count_or("head_dim", is("qwen3") ? 128 : llm.hidden_size / llm.heads);
  if (llm.heads % llm.kv_heads != 0) config.refuse("num_key_value_heads", "it must divide num_attention_heads");
  if (llm.head_dim % 2 != 0) config.refuse("head_dim", "rotary embedding needs an even head size");
  llm.vocabulary_size = config.count("vocab_size");
  llm.max_position_embeddings = config.count_or("max_position_embeddings", 2048);
  llm.rms_norm_eps = config.number_or("rms_norm_eps", 1e-6);
  llm.tied_embeddings = config.flag_or("tie_word_embeddings", false);
  if (const auto act = config.text_or("hidden_act", "silu"); act != "silu" && act != "swish") {
    config.refuse("hidden_act", "only silu is supported");
  }
  const bool attention_bias = config.flag_or("attention_bias", false);
  const bool may_have_bias = is("llama") || is("qwen3");
  llm.qkv_bias = is("qwen2") || attention_bias;
  llm.o_bias = attention_bias;
  if (!may_have_bias && attention_bias) config.refuse("attention_bias", "only llama and qwen3 models have this field");
  llm.mlp_bias = config.flag_or("mlp_bias", false);
  if (!is("llama") && llm.mlp_bias) config.refuse("mlp_bias", "only a llama model has this field");
  if (config.flag_or("use_mrope", false)) config.refuse("use_mrope", "multimodal rotary embedding is not supported");
  llm.sliding_window = read_sliding_window(config);
  llm.rope = RopeConfig::read(config, llm.max_position_embeddings);
  const auto bos = config.token_id("bos_token_id");
  llm.eos_ids = config.token_ids("eos_token_id");
  if (!bos) config.refuse("bos_token_id", "the LLM's input begins with this token: give its id");
  if (llm.eos_ids.empty()) config.refuse("eos_token_id", "every target ends with this token: give its id");
  llm.bos_id = *bos;
  llm.eos_id = llm.eos_ids.front();
  if (llm.bos_id >= llm.vocabulary_size) config.refuse("bos_token_id", "it is not below vocab_size");
  if (std::ranges::max(llm.eos_ids) >= llm.vocabulary_size) config.refuse("eos_token_id", "it is not below vocab_size");
  // What transformers' generate stops at, where the file says it.
  if (const auto ids = generation_eos_ids(folder); !ids.empty()) llm.eos_ids = ids;
  llm.end_targets_with(llm.eos_id);
  config.finish(ignored_fields);
  return llm;
}

void LlmConfig::check_sequence_length(const std::filesystem::path& folder, int64_t tokens) const {
  if (sliding_window && tokens > *sliding_window) {
    throw ModelError((folder / "config.json").string() + ": field 'sliding_window' is " + std::to_string(*sliding_window) +
                     ", but a sequence of this run has up to " + std::to_string(tokens) +
                     " tokens, and sliding-window attention is not supported. Lower max_source_tokens or max_target_tokens");
  }
}

std::string LlmConfig::tensor_parallel_problem(int64_t tp) const {
  if (heads % tp != 0) {
    return std::to_string(heads) + " attention heads (num_attention_heads) cannot be divided by " +
                     "parallel.tensor = " + std::to_string(tp) + "; choose a divisor of " + std::to_string(heads);
  }
  if (kv_heads % tp != 0 && tp % kv_heads != 0) {
    return std::to_string(kv_heads) + " key-value heads (num_key_value_heads) and parallel.tensor = " +
                     std::to_string(tp) + " do not divide one another; choose a divisor or a multiple of " + std::to_string(kv_heads);
  }
  return "";
}

void LlmConfig::check_tensor_parallel(const std::filesystem::path& folder, int64_t tp) const {
  const auto problem = tensor_parallel_problem(tp);
  if (!problem.empty()) throw configs::ConfigError((folder / "config.json").string() + ": " + problem);
}

int64_t LlmConfig::parameters(int tp) const {
  const int64_t D = hidden_size, q = heads / tp * head_dim, kv = std::max<int64_t>(1, kv_heads / tp) * head_dim;
  const int64_t F = dist::shard_of(intermediate_size, 0, tp).size, V = dist::shard_of(vocabulary_size, 0, tp).size;
  int64_t layer = 2 * D + (q + 2 * kv) * D + D * q + 3 * F * D;
  if (qk_norm) layer += 2 * head_dim;
  if (qkv_bias) layer += q + 2 * kv;
  if (o_bias) layer += D;
  if (mlp_bias) layer += 2 * F + D;
  return layers * layer + D + V * D * (tied_embeddings ? 1 : 2);
}

}  // namespace layalign::model
