// config.json as people have them, of transformers 4 and 5, and everything that must be refused by name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "configs/error.h"
#include "model/encoder.h"
#include "model/error.h"
#include "model/llm_config.h"
#include "model/rope.h"

namespace layalign::model {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class ModelConfigs : public testing::Test {
 protected:
  ModelConfigs() {
    std::string name = (fs::temp_directory_path() / "layalign-model-XXXXXX").string();
    folder = mkdtemp(name.data());
  }
  ~ModelConfigs() override { fs::remove_all(folder); }

  LlmConfig llm(const std::string& json, const std::vector<std::string>& ignored = {}) const {
    std::ofstream(folder / "config.json") << json;
    return LlmConfig::read(folder, ignored);
  }
  EncoderInfo encoder(const std::string& json) const {
    std::ofstream(folder / "config.json") << json;
    return read_encoder_info(folder);
  }
  template <typename Read>
  std::string refusal(const Read& read) const {
    try {
      read();
    } catch (const ModelError& error) {
      return error.what();
    }
    return "no error";
  }
  std::string llm_refusal(const std::string& json) const {
    return refusal([&] { llm(json); });
  }

  fs::path folder;
};

const std::string kLlama2 =
    R"({"_name_or_path": "x", "architectures": ["LlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
        "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 11008, "max_position_embeddings": 4096,
        "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32, "pad_token_id": 32000,
        "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": null, "tie_word_embeddings": false, "torch_dtype": "float32",
        "transformers_version": "4.31.0", "use_cache": false, "vocab_size": 32001)";

TEST_F(ModelConfigs, LlamaTwoOfTransformersFour) {
  const auto config = llm(kLlama2 + "}");
  EXPECT_EQ(config.head_dim, 128);
  EXPECT_EQ(config.vocabulary_size, 32001);
  EXPECT_EQ(config.rope.theta, 10000.0);
  EXPECT_FALSE(config.qkv_bias);
}

TEST_F(ModelConfigs, LlamaThreeOfTransformersFour) {
  const auto config = llm(
      R"({"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 128000,
          "eos_token_id": [128001, 128008, 128009], "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02,
          "intermediate_size": 14336, "max_position_embeddings": 131072, "mlp_bias": false, "model_type": "llama",
          "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
          "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                           "original_max_position_embeddings": 8192, "rope_type": "llama3"},
          "rope_theta": 500000.0, "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.43.0",
          "use_cache": true, "vocab_size": 128256})");
  EXPECT_EQ(config.eos_id, 128001);
  EXPECT_EQ(config.eos_ids, (std::vector<int64_t>{128001, 128008, 128009}));
  EXPECT_EQ(config.rope.type, "llama3");
  EXPECT_EQ(config.rope.theta, 500000.0);
  EXPECT_EQ(config.kv_heads, 8);
}

TEST_F(ModelConfigs, WhatEndsAText) {
  // transformers generates by generation_config.json where it names an end; the tokenizer's own end joins.
  std::ofstream(folder / "generation_config.json") << R"({"eos_token_id": [7, 9], "max_length": 20})";
  auto config = llm(kLlama2 + "}");
  EXPECT_EQ(config.eos_ids, (std::vector<int64_t>{7, 9, 2}));
  EXPECT_EQ(config.eos_id, 2);
  config.end_targets_with(11);
  EXPECT_EQ(config.eos_id, 11);
  for (int64_t id : {7, 9, 2, 11}) EXPECT_TRUE(config.ends_text(id));
  EXPECT_FALSE(config.ends_text(3));
  std::ofstream(folder / "generation_config.json") << R"({"eos_token_id": "</s>"})";
  EXPECT_THAT(llm_refusal(kLlama2 + "}"), HasSubstr("generation_config.json: field 'eos_token_id'"));
}

TEST_F(ModelConfigs, MistralAndItsWindow) {
  const auto config = llm(
      R"({"architectures": ["MistralForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 4096,
          "initializer_range": 0.02, "intermediate_size": 14336, "max_position_embeddings": 32768, "model_type": "mistral",
          "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
          "sliding_window": 4096, "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.34.0.dev0",
          "use_cache": true, "vocab_size": 32000})");
  config.check_sequence_length(folder, 4096);
  EXPECT_THAT(refusal([&] { config.check_sequence_length(folder, 4097); }), HasSubstr("'sliding_window' is 4096"));
}

TEST_F(ModelConfigs, QwenTwoDoesNotUseItsWindow) {
  const auto config = llm(
      R"({"architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643, "eos_token_id": 151643,
          "hidden_act": "silu", "hidden_size": 896, "initializer_range": 0.02, "intermediate_size": 4864,
          "max_position_embeddings": 131072, "max_window_layers": 24, "model_type": "qwen2", "num_attention_heads": 14,
          "num_hidden_layers": 24, "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 32768,
          "tie_word_embeddings": true, "torch_dtype": "bfloat16", "transformers_version": "4.40.1", "use_cache": true,
          "use_mrope": false, "use_sliding_window": false, "vocab_size": 151936})");
  EXPECT_TRUE(config.qkv_bias);
  EXPECT_TRUE(config.tied_embeddings);
  EXPECT_FALSE(config.sliding_window);
}

TEST_F(ModelConfigs, EncodersOfTheHub) {
  const auto mt5 = encoder(
      R"({"_name_or_path": "x", "architectures": ["MT5ForConditionalGeneration"], "d_ff": 5120, "d_kv": 64, "d_model": 2048,
          "decoder_start_token_id": 0, "dropout_rate": 0.1, "eos_token_id": 1, "feed_forward_proj": "gated-gelu",
          "initializer_factor": 1.0, "is_encoder_decoder": true, "layer_norm_epsilon": 1e-06, "model_type": "mt5",
          "num_decoder_layers": 24, "num_heads": 32, "num_layers": 24, "output_past": true, "pad_token_id": 0,
          "relative_attention_num_buckets": 32, "tie_word_embeddings": false, "tokenizer_class": "T5Tokenizer", "vocab_size": 250112})");
  EXPECT_EQ(mt5.width, 2048);
  EXPECT_EQ(mt5.depth, 24);
  EXPECT_NEAR(static_cast<double>(mt5.parameters), 1.67e9, 0.01e9);  // 1.16 G and 0.51 G of embedding
  const auto t5 = encoder(
      R"({"architectures": ["T5ForConditionalGeneration"], "d_ff": 2048, "d_kv": 64, "d_model": 512, "decoder_start_token_id": 0,
          "dropout_rate": 0.1, "eos_token_id": 1, "initializer_factor": 1.0, "is_encoder_decoder": true, "layer_norm_epsilon": 1e-06,
          "model_type": "t5", "n_positions": 512, "num_heads": 8, "num_layers": 6, "output_past": true, "pad_token_id": 0,
          "relative_attention_num_buckets": 32, "task_specific_params": {"summarization": {"prefix": "summarize: "}}, "vocab_size": 32128})");
  EXPECT_EQ(t5.depth, 6);
}

TEST_F(ModelConfigs, FieldsOfT5ThatContradictOneAnother) {
  const std::string t5 = R"({"model_type": "mt5", "d_ff": 64, "d_kv": 8, "d_model": 32, "num_heads": 4, "num_layers": 2,
                             "feed_forward_proj": "gated-gelu", "vocab_size": 100)";
  EXPECT_NO_THROW(encoder(t5 + R"(, "dense_act_fn": "gelu_new", "is_gated_act": true})"));
  EXPECT_THAT(refusal([&] { encoder(t5 + R"(, "dense_act_fn": "relu"})"); }), HasSubstr("'dense_act_fn' is \"relu\""));
  EXPECT_THAT(refusal([&] { encoder(t5 + R"(, "is_gated_act": false})"); }), HasSubstr("'is_gated_act' is false"));
}

TEST_F(ModelConfigs, UnsupportedFieldsAreRefusedByName) {
  for (const auto& [field, named] : std::vector<std::pair<std::string, std::string>>{
           {R"("quantization_config": {"bits": 4})", "quantization_config"},
           {R"("rope_parameters": {"rope_type": "yarn", "factor": 2.0})", "yarn"},
           {R"("rope_parameters": {"rope_type": "linear", "factor": 2.0, "beta_fast": 32})", "beta_fast"},
           {R"("rope_parameters": {"rope_type": "linear"})", "factor"},
           {R"("head_dim": 3)", "head_dim"},
           {R"("partial_rotary_factor": 0.5)", "partial_rotary_factor"},
           {R"("rope_parameters": {"rope_type": "default"}, "rope_scaling": {"type": "linear", "factor": 2.0})", "'rope_scaling'"},
           {R"("auto_map": {"AutoModel": "x.Model"})", "auto_map"},
           {R"("pruned_heads": {"0": [1]})", "pruned_heads"},
           {R"("use_mrope": true)", "use_mrope"},
           {R"("layer_types": ["chunked_attention"])", "layer_types"}}) {
    EXPECT_THAT(llm_refusal(kLlama2 + ", " + field + "}"), HasSubstr(named)) << field;
  }
  std::string other = kLlama2;
  other.replace(other.find("\"silu\""), 6, "\"gelu\"");
  EXPECT_THAT(llm_refusal(other + "}"), HasSubstr("hidden_act"));
  other = kLlama2;
  other.replace(other.find("\"llama\""), 7, "\"gemma\"");
  EXPECT_THAT(llm_refusal(other + "}"), HasSubstr("gemma"));
  other = kLlama2;
  other.replace(other.find("\"bos_token_id\": 1"), 17, "\"bos_token_id\": null");
  EXPECT_THAT(llm_refusal(other + "}"), HasSubstr("bos_token_id"));
  other = kLlama2;
  other.replace(other.find("\"hidden_size\": 4096,"), 20, "");
  EXPECT_THAT(llm_refusal(other + "}"), HasSubstr("'hidden_size' is missing"));
  EXPECT_THAT(llm_refusal(kLlama2), HasSubstr("config.json"));
}

TEST_F(ModelConfigs, AUserMayVouchForAField) {
  EXPECT_EQ(llm(kLlama2 + R"(, "my_note": 1})", {"my_note"}).layers, 32);
  EXPECT_THAT(llm_refusal(kLlama2 + R"(, "my_note": 1, "other": 2})"), HasSubstr("'my_note', 'other'"));
}

TEST_F(ModelConfigs, HeadsAndTheTensorParallelSize) {
  auto config = llm(kLlama2 + "}");
  config.kv_heads = 8;
  for (int64_t tp : {1, 2, 4, 8, 16, 32}) EXPECT_NO_THROW(config.check_tensor_parallel(folder, tp));
  EXPECT_THROW(config.check_tensor_parallel(folder, 3), configs::ConfigError);
  config.heads = 24, config.kv_heads = 6;
  EXPECT_THROW(config.check_tensor_parallel(folder, 4), configs::ConfigError);
  EXPECT_NO_THROW(config.check_tensor_parallel(folder, 12));
}

}  // namespace
}  // namespace layalign::model
