#include "model/layalign.h"

#include "model/attention.h"
#include "model/recompute.h"
#include "model/work_counter.h"

namespace layalign::model {
namespace {

/// Runs `piece` as it is or with activation recomputation.
at::Tensor run(Recompute mode, const Piece& piece, const std::vector<at::Tensor>& inputs) {
  return mode == Recompute::kFull ? recompute(piece, inputs)[0] : piece(inputs)[0];
}

FusionGate gate_of(const Gates& gates, int64_t adapted) {
  if (gates.scalar_L.defined()) return {gates.scalar_L.select(0, adapted), {}, {}};
  if (gates.weight_LD.defined()) return {{}, gates.weight_LD.select(0, adapted), gates.bias_L.select(0, adapted)};
  return {};
}

}  // namespace

LayAlign::LayAlign(const Llm& llm, Trainables& trainables, std::vector<int64_t> language_layers, data::InputForm form,
                   Recompute recompute)
    : llm_(llm), trainables_(trainables), adapted_of_layer_(llm.config().layers, -1), form_(form), recompute_(recompute) {
  for (size_t i = 0; i < language_layers.size(); ++i) adapted_of_layer_.at(language_layers[i]) = static_cast<int64_t>(i);
}

at::Tensor LayAlign::input_rows(const data::Batch& batch, const EncoderStates& states) const {
  const auto tokens_KD = llm_.embed(batch.token_ids_K);
  if (form_ == data::InputForm::kText) return tokens_KD.index_select(0, batch.input_rows_T);
  const PartScope part(Part::kMapping);
  const auto mapped_SD = trainables_.mapping(states.last_SD);
  const auto boundary_BD = trainables_.mapping.end_boundary.to(llm_.type()).expand({batch.samples, -1});
  return at::cat({mapped_SD, tokens_KD, boundary_BD}).index_select(0, batch.input_rows_T);
}

FusionGate LayAlign::gate(int64_t layer) const { return gate_of(trainables_.gates, adapted_of_layer_[layer]); }

std::optional<Fusion> LayAlign::fusion(int64_t layer, const at::Tensor& states_ESD) const {
  if (!is_adapted(layer)) return std::nullopt;
  const auto [key_state_SD, value_state_SD] = trainables_.aligner.states(states_ESD, adapted_of_layer_[layer]);
  return Fusion{llm_.layer(layer).project(key_state_SD, value_state_SD), gate(layer)};
}

LayerAttention LayAlign::packed(const Rows& rows, const DecoderLayer& layer,
                                const std::optional<FusionKeyValue>& fusion) const {
  LayerAttention attention;
  attention.self = [&rows, &layer](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
    return packed_attention(q, k, v, rows.inputs, rows.inputs, /*causal=*/true, layer.scale());
  };
  if (fusion) {
    attention.fusion = [&rows, &layer, key_value = *fusion](const at::Tensor& q) {
      const PartScope part(Part::kFusion);
      return packed_attention(q, key_value.key_SGd, key_value.value_SGd, rows.inputs, rows.sources,
                              /*causal=*/false, layer.scale());
    };
  }
  return attention;
}

at::Tensor LayAlign::adapted_layer(int64_t layer, int64_t adapted, const at::Tensor& x_TD, const at::Tensor& states_ESD,
                                   const std::shared_ptr<const Rows>& rows) const {
  // Pieces run again in backward, when this call has returned: they capture by value.
  const auto project = [this, layer, adapted](const std::vector<at::Tensor>& in) -> std::vector<at::Tensor> {
    const auto aligner = trainables_.aligner.with_weights(&in[1]);
    const PartScope aligner_part(Part::kAligner);
    const auto [key_state_SD, value_state_SD] = aligner.states(in[0], adapted);
    const PartScope fusion_part(Part::kFusion);
    const auto fusion = llm_.layer(layer).project(key_state_SD, value_state_SD);
    return {fusion.key_SGd, fusion.value_SGd};
  };
  const auto piece = [this, layer, adapted, rows,
                      project](const std::vector<at::Tensor>& in) -> std::vector<at::Tensor> {
    const PartScope part(Part::kLlm);
    const auto gates = trainables_.gates.with_weights(&in[1]);
    const std::vector<at::Tensor> states_and_weights(in.begin() + 1 + gates.weights().size(), in.end());
    // Within a recomputed layer the states are made again anyway.
    const auto made = recompute_ == Recompute::kFull ? project(states_and_weights) : recompute(project, states_and_weights);
    const auto& decoder = llm_.layer(layer);
    const auto attention = packed(*rows, decoder, FusionKeyValue{made[0], made[1]});
    return {decoder.forward(in[0], rows->rope, attention, gate_of(gates, adapted))};
  };
  std::vector<at::Tensor> inputs = {x_TD};
  for (auto& weight : trainables_.gates.weights()) inputs.push_back(weight);
  inputs.push_back(states_ESD);
  for (auto& weight : trainables_.aligner.weights()) inputs.push_back(weight);
  return run(recompute_, piece, inputs);
}

at::Tensor LayAlign::hidden_rows(const data::Batch& batch, const EncoderStates& states, const LayerVisitor& visit) const {
  const auto device = batch.positions_T.device();
  const auto rows = std::make_shared<const Rows>(
      Rows{PackedSequences(batch.llm_offsets, device), PackedSequences(batch.source_offsets, device), llm_.rope(batch.positions_T)});
  auto x_TD = input_rows(batch, states);
  if (visit) visit(0, x_TD);
  for (size_t layer = 0; layer < adapted_of_layer_.size(); ++layer) {
    const auto index = static_cast<int64_t>(layer);
    if (const int64_t adapted = adapted_of_layer_[layer]; adapted >= 0) {
      x_TD = adapted_layer(index, adapted, x_TD, states.layers_ESD, rows);
    } else {
      const auto piece = [this, index, rows](const std::vector<at::Tensor>& in) -> std::vector<at::Tensor> {
        const PartScope part(Part::kLlm);
        const auto& decoder = llm_.layer(index);
        return {decoder.forward(in[0], rows->rope, packed(*rows, decoder, std::nullopt), {})};
      };
      x_TD = run(recompute_, piece, {x_TD});
    }
    if (visit) visit(index + 1, x_TD);
  }
  return x_TD;
}

at::Tensor LayAlign::label_losses(const data::Batch& batch, const EncoderStates& states) const {
  return llm_.label_losses(hidden_rows(batch, states).index_select(0, batch.label_rows_N), batch.label_ids_N);
}

at::Tensor LayAlign::label_logits(const data::Batch& batch, const EncoderStates& states) const {
  return llm_.logits(hidden_rows(batch, states).index_select(0, batch.label_rows_N));
}

}  // namespace layalign::model
