// config.json of the encoders as the hub has them, of transformers 4 and 5, and everything that must be refused by name.
// Numbers of parameters are those that transformers counts for the encoder (without pooler, decoder and output head).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "model/encoder.h"
#include "model/error.h"

namespace layalign::model {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

class EncoderConfigs : public testing::Test {
 protected:
  EncoderConfigs() {
    std::string name = (fs::temp_directory_path() / "layalign-encoder-XXXXXX").string();
    folder = mkdtemp(name.data());
  }
  ~EncoderConfigs() override { fs::remove_all(folder); }

  /// Reads the fields `json` and, behind them, `more`: of two equal keys there must be one, so `more` replaces `without`.
  EncoderInfo read(std::string json, const std::string& more = "", const std::string& without = "") const {
    if (!without.empty()) {
      const auto begin = json.find("\"" + without + "\"");
      EXPECT_NE(begin, std::string::npos) << without;
      json.erase(begin, json.find(", ", begin) + 2 - begin);
    }
    std::ofstream(folder / "config.json") << "{" << json << (more.empty() ? "" : ", ") << more << "}";
    return read_encoder_info(folder);
  }
  std::string refusal(const std::string& json, const std::string& more, const std::string& without = "") const {
    try {
      read(json, more, without);
    } catch (const ModelError& error) {
      return error.what();
    }
    return "no error";
  }

  fs::path folder;
};

const std::string kNllb =
    R"("_name_or_path": "x", "activation_dropout": 0.0, "activation_function": "relu", "architectures": ["M2M100ForConditionalGeneration"],
       "attention_dropout": 0.1, "bos_token_id": 0, "d_model": 2048, "decoder_attention_heads": 16, "decoder_ffn_dim": 8192,
       "decoder_layerdrop": 0, "decoder_layers": 24, "decoder_start_token_id": 2, "dropout": 0.1, "encoder_attention_heads": 16,
       "encoder_ffn_dim": 8192, "encoder_layerdrop": 0, "encoder_layers": 24, "eos_token_id": 2, "init_std": 0.02,
       "is_encoder_decoder": true, "max_length": 200, "max_position_embeddings": 1024, "model_type": "m2m_100",
       "num_hidden_layers": 24, "pad_token_id": 1, "scale_embedding": true, "tokenizer_class": "NllbTokenizer",
       "torch_dtype": "float32", "transformers_version": "4.21.0.dev0", "use_cache": true, "vocab_size": 256206)";

const std::string kXglm =
    R"("activation_dropout": 0, "activation_function": "gelu", "architectures": ["XGLMForCausalLM"], "attention_dropout": 0.1,
       "attention_heads": 16, "bos_token_id": 0, "d_model": 1024, "decoder_start_token_id": 2, "dropout": 0.1, "eos_token_id": 2,
       "ffn_dim": 4096, "init_std": 0.02, "layerdrop": 0.0, "max_position_embeddings": 2048, "model_type": "xglm",
       "num_layers": 24, "pad_token_id": 1, "scale_embedding": true, "transformers_version": "4.16.0.dev0", "use_cache": true,
       "vocab_size": 256008)";

const std::string kMgpt =
    R"("_name_or_path": "x", "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1,
       "bos_token_id": 50256, "embd_pdrop": 0.1, "eos_token_id": 50256, "gradient_checkpointing": false,
       "initializer_range": 0.02, "layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_ctx": 2048, "n_embd": 2048, "n_head": 16,
       "n_inner": null, "n_layer": 24, "n_positions": 2048, "reorder_and_upcast_attn": false, "resid_pdrop": 0.1,
       "scale_attn_by_inverse_layer_idx": false, "scale_attn_weights": true, "summary_activation": null,
       "summary_first_dropout": 0.1, "summary_proj_to_labels": true, "summary_type": "cls_index", "summary_use_proj": true,
       "torch_dtype": "float32", "transformers_version": "4.10.3", "use_cache": true, "vocab_size": 100000)";

const std::string kXlmr =
    R"("architectures": ["XLMRobertaForMaskedLM"], "attention_probs_dropout_prob": 0.1, "bos_token_id": 0, "eos_token_id": 2,
       "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 1024, "initializer_range": 0.02,
       "intermediate_size": 4096, "layer_norm_eps": 1e-05, "max_position_embeddings": 514, "model_type": "xlm-roberta",
       "num_attention_heads": 16, "num_hidden_layers": 24, "output_past": true, "pad_token_id": 1,
       "position_embedding_type": "absolute", "transformers_version": "4.17.0.dev0", "type_vocab_size": 1, "use_cache": true,
       "vocab_size": 250002)";

const std::string kMbert =
    R"("architectures": ["BertForMaskedLM"], "attention_probs_dropout_prob": 0.1, "classifier_dropout": null,
       "directionality": "bidi", "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 768, "initializer_range": 0.02,
       "intermediate_size": 3072, "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "model_type": "bert",
       "num_attention_heads": 12, "num_hidden_layers": 12, "pad_token_id": 0, "pooler_fc_size": 768,
       "pooler_num_attention_heads": 12, "pooler_num_fc_layers": 3, "pooler_size_per_head": 128, "pooler_type": "first_token_transform",
       "position_embedding_type": "absolute", "transformers_version": "4.36.0.dev0", "type_vocab_size": 2, "use_cache": true,
       "vocab_size": 119547)";

const std::string kQwen3 =
    R"("architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 151643,
       "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu", "hidden_size": 1024, "initializer_range": 0.02,
       "intermediate_size": 3072, "max_position_embeddings": 40960, "max_window_layers": 28, "model_type": "qwen3",
       "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8, "rms_norm_eps": 1e-06, "rope_scaling": null,
       "rope_theta": 1000000, "sliding_window": null, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
       "transformers_version": "4.51.0", "use_cache": true, "use_sliding_window": false, "vocab_size": 151936)";

const std::string kMistral =
    R"("architectures": ["MistralForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1, "dtype": "bfloat16", "eos_token_id": 2,
       "head_dim": null, "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
       "max_position_embeddings": 32768, "model_type": "mistral", "num_attention_heads": 32, "num_hidden_layers": 32,
       "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
       "sliding_window": 4096, "tie_word_embeddings": false, "transformers_version": "5.0.0", "use_cache": true, "vocab_size": 32000)";

TEST_F(EncoderConfigs, SizesOfTheHubsModels) {
  const auto expect = [&](const std::string& json, int64_t width, int64_t depth, int64_t parameters, std::optional<int64_t> max_tokens) {
    const auto info = read(json);
    EXPECT_EQ(info.width, width) << info.model_type;
    EXPECT_EQ(info.depth, depth) << info.model_type;
    EXPECT_EQ(info.parameters, parameters) << info.model_type;
    EXPECT_EQ(info.max_tokens, max_tokens) << info.model_type;
  };
  expect(kNllb, 2048, 24, 1733312512, std::nullopt);
  expect(kXglm, 1024, 24, 564463616, std::nullopt);
  expect(kMgpt, 2048, 24, 1417596928, 2048);
  expect(kXlmr, 1024, 24, 558840832, 512);  // positions begin at 2
  expect(kMbert, 768, 12, 177262848, 512);
  expect(kQwen3, 1024, 28, 596049920, std::nullopt);
  expect(kMistral, 4096, 32, 7110660096, 4096);  // its sliding window
}

TEST_F(EncoderConfigs, ALongerSourceIsRefused) {
  const auto info = read(kXlmr);
  EXPECT_NO_THROW(info.check_source_length(512));
  EXPECT_THROW(info.check_source_length(513), ModelError);
  EXPECT_NO_THROW(read(kNllb).check_source_length(100000));
}

TEST_F(EncoderConfigs, UnsupportedFieldsAreRefusedByName) {
  for (const auto& json : {kNllb, kXglm, kMgpt, kXlmr, kMbert, kQwen3, kMistral}) {
    EXPECT_THAT(refusal(json, R"("my_note": 1, "other": 2)"), HasSubstr("'my_note', 'other'"));
    EXPECT_THAT(refusal(json, R"("quantization_config": {"bits": 4})"), HasSubstr("quantization_config"));
  }
  EXPECT_THAT(refusal(kNllb, R"("activation_function": "quick_gelu")", "activation_function"), HasSubstr("'activation_function' is \"quick_gelu\""));
  EXPECT_THAT(refusal(kNllb, R"("encoder_attention_heads": 15)", "encoder_attention_heads"), HasSubstr("'encoder_attention_heads' is 15"));
  EXPECT_THAT(refusal(kNllb, R"("num_hidden_layers": 12)", "num_hidden_layers"), HasSubstr("it contradicts encoder_layers"));
  EXPECT_THAT(refusal(kXglm, R"("attention_heads": 7)", "attention_heads"), HasSubstr("'attention_heads' is 7"));
  EXPECT_THAT(refusal(kMgpt, R"("n_head": 7)", "n_head"), HasSubstr("'n_head' is 7"));
  EXPECT_THAT(refusal(kMgpt, R"("scale_attn_weights": 1)", "scale_attn_weights"), HasSubstr("'scale_attn_weights' is 1"));
  EXPECT_THAT(refusal(kMbert, R"("position_embedding_type": "relative_key")", "position_embedding_type"), HasSubstr("only absolute"));
  EXPECT_THAT(refusal(kMbert, R"("is_decoder": true)"), HasSubstr("'is_decoder' is true"));
  EXPECT_THAT(refusal(kMbert, R"("hidden_act": "mish")", "hidden_act"), HasSubstr("'hidden_act' is \"mish\""));
  EXPECT_THAT(refusal(kXlmr, R"("num_attention_heads": 15)", "num_attention_heads"), HasSubstr("'num_attention_heads' is 15"));
  EXPECT_THAT(refusal(kXlmr, R"("pad_token_id": 513)", "pad_token_id"), HasSubstr("max_position_embeddings"));
  EXPECT_THAT(refusal(kXlmr, "", "hidden_size"), HasSubstr("'hidden_size' is missing"));
  EXPECT_THAT(refusal(kQwen3, R"("hidden_act": "gelu")", "hidden_act"), HasSubstr("hidden_act"));
}

TEST_F(EncoderConfigs, AnUnknownEncoderIsToldWhichThereAre) {
  EXPECT_THAT(refusal(kMbert, R"("model_type": "deberta-v2")", "model_type"),
              AllOf(HasSubstr("'model_type' is \"deberta-v2\""), HasSubstr("bert, gpt2, llama, m2m_100, mistral, mt5")));
}

}  // namespace
}  // namespace layalign::model
