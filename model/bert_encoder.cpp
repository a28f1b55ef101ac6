#include "model/bert_encoder.h"

#include "model/positions.h"

namespace layalign::model {
namespace {

const TransformerLayerNames kBertNames = {
    "attention.self.query",       "attention.self.key", "attention.self.value", "attention.output.dense",
    "attention.output.LayerNorm", "intermediate.dense", "output.dense",         "output.LayerNorm"};

}  // namespace

BertConfig BertConfig::read(HfConfig& config, const std::vector<std::string>& ignored_fields) {
  BertConfig bert;
  bert.info = {.model_type = config.model_type(),
               .width = config.count("hidden_size"),
               .depth = config.count("num_hidden_layers"),
               .vocabulary_size = config.count("vocab_size")};
  bert.heads = config.count("num_attention_heads");
  bert.check_heads(config, "num_attention_heads");
  bert.intermediate_size = config.count("intermediate_size");
  bert.activation = activation_of(config.text_or("hidden_act", "gelu"), config, "hidden_act");
  bert.norm_eps = config.number_or("layer_norm_eps", 1e-12);
  bert.token_types = config.count_or("type_vocab_size", 2);
  bert.max_position_embeddings = config.count_or("max_position_embeddings", 512);
  bert.info.max_tokens = bert.max_position_embeddings;
  if (config.model_type() != "bert") {
    bert.padding_id = config.token_id("pad_token_id").value_or(1);
    bert.info.max_tokens = bert.max_position_embeddings - *bert.padding_id - 1;
    if (*bert.info.max_tokens < 1) config.refuse("max_position_embeddings", "positions begin after pad_token_id");
  }
  if (config.text_or("position_embedding_type", "absolute") != "absolute") {
    config.refuse("position_embedding_type", "only absolute is supported");
  }
  if (config.flag_or("is_decoder", false)) config.refuse("is_decoder", "only an encoder is supported");
  const int64_t D = bert.info.width;
  const int64_t embeddings = bert.info.vocabulary_size + bert.max_position_embeddings + bert.token_types;
  bert.info.parameters = embeddings * D + 2 * D + bert.info.depth * bert.layer_parameters();
  bert.describe_work(/*causal=*/false);
  // The pooler and what follows it are a classifier's.
  config.ignore({"attention_probs_dropout_prob", "directionality", "hidden_dropout_prob", "pooler_fc_size",
                 "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type",
                 "tie_word_embeddings"});
  config.finish(ignored_fields);
  return bert;
}

BertEncoder::BertEncoder(const std::filesystem::path& folder, const BertConfig& config, at::Device device,
                         at::ScalarType type)
    : TransformerEncoder(config, Norm::kPost, Sight::kBoth), padding_id_(config.padding_id) {
  const int64_t D = config.info.width;
  Weights weights(folder, {"bert.", "roberta.", ""}, "embeddings.word_embeddings.weight", device, type);
  const std::string embeddings = weights.prefix() + "embeddings.";
  embedding_VD_ = weights.whole(embeddings + "word_embeddings.weight", {config.info.vocabulary_size, D});
  positions_PD_ = weights.whole(embeddings + "position_embeddings.weight", {config.max_position_embeddings, D});
  token_type_D_ = weights.whole(embeddings + "token_type_embeddings.weight", {config.token_types, D})[0].clone();
  embedding_norm_ = read_norm(weights, embeddings + "LayerNorm");
  for (int64_t i = 0; i < config.info.depth; ++i) {
    layers_.push_back(read_layer(weights, weights.prefix() + "encoder.layer." + std::to_string(i) + ".", kBertNames));
  }
  fingerprint_ = weights.fingerprint();
}

at::Tensor BertEncoder::embed(const at::Tensor& ids_S, const std::vector<int64_t>& offsets) const {
  const auto positions_S =
      padding_id_ ? fairseq_positions(ids_S, offsets, *padding_id_) : token_positions(offsets, ids_S.device());
  const auto tokens_SD = at::embedding(embedding_VD_, ids_S) + token_type_D_;
  return embedding_norm_(tokens_SD + positions_PD_.index_select(0, positions_S));
}

}  // namespace layalign::model
