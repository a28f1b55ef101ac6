#pragma once

// Shape letters: T LLM tokens of all samples, S encoder tokens, N label tokens, E encoder layers used, D LLM width.

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "data/batch.h"
#include "model/encoder.h"
#include "model/llm.h"
#include "model/packed_sequences.h"
#include "model/trainables.h"

namespace layalign::model {

/// Which activations are kept for backward.
enum class Recompute {
  kNone,  ///< all but the aligner's states, which are always made again
  kFull,  ///< the input of each layer alone
};

/// What the LLM attends to besides itself: the fusion's keys and values of one layer, and their gate.
struct Fusion {
  FusionKeyValue key_value;
  FusionGate gate;
};

/// The frozen LLM with the trained mapping, layer-wise aligner and gates: encoder states in, loss of the labels out.
///
///   x = [bos, mapping(hidden_states[n]), end_boundary, (prompt), target]  of each sample, packed; without a mapping [bos, ...]
///   layers l in `language_layers` attend to k_proj_l(K_l), v_proj_l(V_l) of the aligner's states, scaled by gate_l
/// Gradients: see Trainables::mapping_size and DecoderLayer for which are whole and which are partial sums.
class LayAlign {
 public:
  /// `language_layers`: the adapted LLM layers, in the order of the aligner's rows and the gates; none: no fusion. `form`:
  /// whether the encoder's mapped tokens are part of the LLM's input. Keeps references.
  LayAlign(const Llm& llm, Trainables& trainables, std::vector<int64_t> language_layers, data::InputForm form,
           Recompute recompute);

  data::InputForm input_form() const { return form_; }
  Recompute recompute_mode() const { return recompute_; }
  const Llm& llm() const { return llm_; }

  /// Cross-entropy of each label token of the batch, float32 [N]; records gradients in gradient mode.
  /// Collectives: those of embed, of each layer and of label_losses.
  at::Tensor label_losses(const data::Batch& batch, const EncoderStates& states) const;

  /// Logits at the label rows, float32 [N, V].
  at::Tensor label_logits(const data::Batch& batch, const EncoderStates& states) const;

  /// Gets the LLM's input (layer 0) and what each of its layers makes of it (1, 2, ...), [T, D], before the final norm.
  using LayerVisitor = std::function<void(int64_t layer, const at::Tensor& hidden_TD)>;
  /// What the last layer makes of every row, [T, D], before the final norm. Collectives: those of embed and of each layer.
  at::Tensor hidden_rows(const data::Batch& batch, const EncoderStates& states, const LayerVisitor& visit = {}) const;

  /// The LLM's input, [T, D]. Collectives: one all-reduce.
  at::Tensor input_rows(const data::Batch& batch, const EncoderStates& states) const;
  /// The fusion of a layer for states_ESD [E, S, De]; none for a plain layer.
  std::optional<Fusion> fusion(int64_t layer, const at::Tensor& states_ESD) const;
  /// Its gate alone; meaningless for a plain layer.
  FusionGate gate(int64_t layer) const;
  bool is_adapted(int64_t layer) const { return adapted_of_layer_[layer] >= 0; }

 private:
  /// What a layer needs to know of a packed batch.
  struct Rows {
    PackedSequences inputs, sources;
    RopeTable rope;
  };
  LayerAttention packed(const Rows& rows, const DecoderLayer& layer, const std::optional<FusionKeyValue>& fusion) const;
  at::Tensor adapted_layer(int64_t layer, int64_t adapted, const at::Tensor& x_TD, const at::Tensor& states_ESD,
                           const std::shared_ptr<const Rows>& rows) const;

  const Llm& llm_;
  Trainables& trainables_;
  std::vector<int64_t> adapted_of_layer_;  // index among the adapted layers, -1 for a plain layer
  data::InputForm form_;
  Recompute recompute_;
};

}  // namespace layalign::model
