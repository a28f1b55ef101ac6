#include "model/llm_encoder.h"

#include <ATen/core/grad_mode.h>

#include "model/attention.h"
#include "model/hidden_states.h"
#include "model/positions.h"
#include "model/work_formula.h"

namespace layalign::model {

LlmEncoderConfig LlmEncoderConfig::read(const HfConfig& config, const std::vector<std::string>& ignored_fields) {
  LlmEncoderConfig encoder;
  encoder.llm = LlmConfig::read(config.folder(), ignored_fields);
  const auto& llm = encoder.llm;
  const int64_t head = llm.tied_embeddings ? 0 : llm.vocabulary_size * llm.hidden_size;
  encoder.info = {.model_type = llm.model_type,
                  .width = llm.hidden_size,
                  .depth = llm.layers,
                  .vocabulary_size = llm.vocabulary_size,
                  .parameters = llm.parameters(1) - head,
                  .matrix_parameters = llm.layers * layer_matrix_parameters(llm, 1),
                  .attention_width = llm.heads * llm.head_dim,
                  .causal = true,
                  .max_tokens = llm.sliding_window};
  return encoder;
}

LlmEncoder::LlmEncoder(const std::filesystem::path& folder, const LlmEncoderConfig& config, at::Device device,
                       at::ScalarType type)
    : info_(config.info),
      llm_(folder, config.llm, dist::Communicator("encoder", 0, 1, device, nullptr), device, type, OutputHead::kNone) {}

EncoderStates LlmEncoder::encode(const at::Tensor& ids_S, const std::vector<int64_t>& offsets,
                                 const std::vector<int64_t>& layers) const {
  at::NoGradGuard no_grad;
  for (size_t i = 1; i < offsets.size(); ++i) info_.check_source_length(offsets[i] - offsets[i - 1]);
  const auto rope = llm_.rope(token_positions(offsets, ids_S.device()));
  const PackedSequences texts(offsets, ids_S.device());
  auto x_SD = llm_.embed(ids_S);
  HiddenStates states(layers, x_SD);
  for (int64_t i = 0; i < llm_.layers(); ++i) {
    const auto& layer = llm_.layer(i);
    LayerAttention attention;
    attention.self = [&](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
      return packed_attention(q, k, v, texts, texts, /*causal=*/true, layer.scale());
    };
    x_SD = layer.forward(x_SD, rope, attention, {});
    if (i + 1 < llm_.layers()) states.add(x_SD);
  }
  return states.finish(llm_.normed(x_SD));
}

}  // namespace layalign::model
