#include "model/fairseq_encoder.h"

#include <algorithm>
#include <cmath>

#include "model/positions.h"

namespace layalign::model {
namespace {

const TransformerLayerNames kFairseqLayerNames = {"self_attn.q_proj",
                                                  "self_attn.k_proj",
                                                  "self_attn.v_proj",
                                                  "self_attn.out_proj",
                                                  "self_attn_layer_norm",
                                                  "fc1",
                                                  "fc2",
                                                  "final_layer_norm"};
constexpr int64_t kSpareRows = 2;  // fairseq's tables begin with as many rows more than positions
constexpr int64_t kFirstXglmPosition = 2;

}  // namespace

FairseqConfig FairseqConfig::read(HfConfig& config, const std::vector<std::string>& ignored_fields) {
  FairseqConfig fairseq;
  fairseq.is_decoder = config.model_type() == "xglm";
  const std::string depth = fairseq.is_decoder ? "num_layers" : "encoder_layers";
  const std::string heads = fairseq.is_decoder ? "attention_heads" : "encoder_attention_heads";
  fairseq.info = {.model_type = config.model_type(),
                  .width = config.count("d_model"),
                  .depth = config.count(depth),
                  .vocabulary_size = config.count("vocab_size")};
  fairseq.heads = config.count(heads);
  fairseq.check_heads(config, heads);
  fairseq.intermediate_size = config.count(fairseq.is_decoder ? "ffn_dim" : "encoder_ffn_dim");
  fairseq.activation = activation_of(config.text_or("activation_function", fairseq.is_decoder ? "gelu" : "relu"),
                                     config, "activation_function");
  fairseq.scale_embedding = config.flag_or("scale_embedding", true);
  fairseq.max_position_embeddings = config.count_or("max_position_embeddings", fairseq.is_decoder ? 2048 : 1024);
  fairseq.padding_id = config.token_id("pad_token_id").value_or(1);
  const int64_t V = fairseq.info.vocabulary_size, D = fairseq.info.width;
  if (D < 4) config.refuse("d_model", "sinusoidal positions need at least 4");
  if (config.count_or("num_hidden_layers", fairseq.info.depth) != fairseq.info.depth) {
    config.refuse("num_hidden_layers", "it contradicts " + depth);
  }
  fairseq.info.parameters = V * D + fairseq.info.depth * fairseq.layer_parameters() + 2 * D;
  fairseq.describe_work(/*causal=*/fairseq.is_decoder);
  config.ignore({"activation_dropout", "dropout", "layerdrop", "init_std", "tie_word_embeddings", "encoder_layerdrop",
                 "decoder_layerdrop", "decoder_layers", "decoder_attention_heads", "decoder_ffn_dim"});
  config.finish(ignored_fields);
  return fairseq;
}

FairseqEncoder::FairseqEncoder(const std::filesystem::path& folder, const FairseqConfig& config, at::Device device,
                               at::ScalarType type)
    : TransformerEncoder(config, Norm::kPre, config.is_decoder ? Sight::kCausal : Sight::kBoth), fairseq_(config) {
  const int64_t V = config.info.vocabulary_size, D = config.info.width;
  std::vector<std::string> prefixes = {"model.encoder.", "encoder."};
  if (config.is_decoder) prefixes = {"model."};
  prefixes.emplace_back("");
  Weights weights(folder, prefixes, "layers.0.self_attn.q_proj.weight", device, type);
  std::string embedding = weights.prefix() + "embed_tokens.weight";
  for (const char* shared : {"model.shared.weight", "shared.weight"}) {
    if (weights.contains(shared)) embedding = shared;
  }
  embedding_VD_ = weights.whole(embedding, {V, D});
  for (int64_t i = 0; i < config.info.depth; ++i) {
    layers_.push_back(read_layer(weights, weights.prefix() + "layers." + std::to_string(i) + ".", kFairseqLayerNames));
  }
  final_norm_ = read_norm(weights, weights.prefix() + "layer_norm");
  positions_PD_ =
      sinusoidal_positions(config.max_position_embeddings + kSpareRows, D, config.padding_id).to(device, type);
  fingerprint_ = weights.fingerprint();
}

at::Tensor FairseqEncoder::embed(const at::Tensor& ids_S, const std::vector<int64_t>& offsets) const {
  int64_t longest = 0;
  for (size_t i = 1; i < offsets.size(); ++i) longest = std::max(longest, offsets[i] - offsets[i - 1]);
  const int64_t rows = longest + (fairseq_.is_decoder ? kFirstXglmPosition : fairseq_.padding_id + 1);
  auto table_PD = positions_PD_;
  if (rows > table_PD.size(0)) {
    table_PD = sinusoidal_positions(rows, table_PD.size(1), fairseq_.padding_id).to(table_PD.options());
  }
  const auto positions_S = fairseq_.is_decoder ? token_positions(offsets, ids_S.device()) + kFirstXglmPosition
                                               : fairseq_positions(ids_S, offsets, fairseq_.padding_id);
  const double scale = fairseq_.scale_embedding ? std::sqrt(static_cast<double>(table_PD.size(1))) : 1.0;
  return at::embedding(embedding_VD_, ids_S) * scale + table_PD.index_select(0, positions_S);
}

}  // namespace layalign::model
