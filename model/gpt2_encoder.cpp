#include "model/gpt2_encoder.h"

#include <cmath>

#include "model/positions.h"

namespace layalign::model {
namespace {

/// A product stored as [in, out].
Linear read_transposed(Weights& weights, const std::string& name, int64_t out, int64_t in) {
  return {weights.whole(name + ".weight", {in, out}).t().contiguous(), weights.whole(name + ".bias", {out})};
}

}  // namespace

Gpt2Config Gpt2Config::read(HfConfig& config, const std::vector<std::string>& ignored_fields) {
  Gpt2Config gpt2;
  gpt2.info = {.model_type = config.model_type(),
               .width = config.count("n_embd"),
               .depth = config.count("n_layer"),
               .vocabulary_size = config.count("vocab_size")};
  const int64_t V = gpt2.info.vocabulary_size, D = gpt2.info.width, P = config.count_or("n_positions", 1024);
  gpt2.heads = config.count("n_head");
  gpt2.check_heads(config, "n_head");
  gpt2.intermediate_size = config.count_or("n_inner", 4 * D);
  gpt2.activation = activation_of(config.text_or("activation_function", "gelu_new"), config, "activation_function");
  gpt2.norm_eps = config.number_or("layer_norm_epsilon", 1e-5);
  gpt2.scale_scores = config.flag_or("scale_attn_weights", true);
  gpt2.scale_by_layer_index = config.flag_or("scale_attn_by_inverse_layer_idx", false);
  gpt2.info.max_tokens = P;
  gpt2.info.parameters = (V + P) * D + gpt2.info.depth * gpt2.layer_parameters() + 2 * D;
  gpt2.describe_work(/*causal=*/true);
  // reorder_and_upcast_attn is about precision alone, and softmax is in float32 here; the summary is a classifier's.
  config.ignore({"attn_pdrop", "embd_pdrop", "n_ctx", "n_special", "predict_special_tokens", "reorder_and_upcast_attn",
                 "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type",
                 "summary_use_proj", "tie_word_embeddings"});
  config.finish(ignored_fields);
  return gpt2;
}

Gpt2Encoder::Gpt2Encoder(const std::filesystem::path& folder, const Gpt2Config& config, at::Device device,
                         at::ScalarType type)
    : TransformerEncoder(config, Norm::kPre, Sight::kCausal) {
  const int64_t D = config.info.width, F = config.intermediate_size;
  Weights weights(folder, {"transformer.", ""}, "wte.weight", device, type);
  embedding_VD_ = weights.whole(weights.prefix() + "wte.weight", {config.info.vocabulary_size, D});
  positions_PD_ = weights.whole(weights.prefix() + "wpe.weight", {*config.info.max_tokens, D});
  for (int64_t i = 0; i < config.info.depth; ++i) {
    const std::string prefix = weights.prefix() + "h." + std::to_string(i) + ".";
    TransformerLayer layer;
    layer.attention_norm = read_norm(weights, prefix + "ln_1");
    layer.qkv = read_transposed(weights, prefix + "attn.c_attn", 3 * D, D);
    layer.out = read_transposed(weights, prefix + "attn.c_proj", D, D);
    layer.feed_forward_norm = read_norm(weights, prefix + "ln_2");
    layer.up = read_transposed(weights, prefix + "mlp.c_fc", F, D);
    layer.down = read_transposed(weights, prefix + "mlp.c_proj", D, F);
    if (config.scale_scores) layer.scale = 1.0 / std::sqrt(static_cast<double>(config.head_dim()));
    if (config.scale_by_layer_index) layer.scale /= static_cast<double>(i + 1);
    layers_.push_back(std::move(layer));
  }
  final_norm_ = read_norm(weights, weights.prefix() + "ln_f");
  fingerprint_ = weights.fingerprint();
}

at::Tensor Gpt2Encoder::embed(const at::Tensor& ids_S, const std::vector<int64_t>& offsets) const {
  return at::embedding(embedding_VD_, ids_S) + positions_PD_.index_select(0, token_positions(offsets, ids_S.device()));
}

}  // namespace layalign::model
