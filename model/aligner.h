#pragma once

// Shape letters: E encoder layers used, L LLM layers adapted, S encoder tokens, De / D width of encoder / LLM.

#include <ATen/ATen.h>

#include <utility>
#include <vector>

namespace layalign::model {

/// The paper's adapter: encoder states to the LLM's input space. Trainable.
///   MLP:     mapping(h) = W2 relu(W1 h + b1) + b2     Source: paper, section 3.1.
///   linear:  mapping(h) = W1 h + b1                   as LangBridge has it
struct Mapping {
  at::Tensor linear1_weight;  ///< [2De, De]; linear: [D, De]
  at::Tensor linear1_bias;    ///< [2De]; linear: [D]
  at::Tensor linear2_weight;  ///< [D, 2De], undefined where linear
  at::Tensor linear2_bias;    ///< [D], undefined where linear
  at::Tensor end_boundary;    ///< [D], the row between the mapped tokens and the text

  /// last_SD [S, De] -> [S, D], products in `last_SD`'s type.
  at::Tensor operator()(const at::Tensor& last_SD) const;
};

/// The layer-wise aligner: mixes the encoder's layers into one K-state and one V-state for each adapted LLM layer. Trainable.
///   A_l = relu(fc1[2l : 2l+2] . H + b)   over the layer axis, H [E, S, De]
///   K_l, V_l = fc2(A_l)                  MLP structure: fc3(relu(fc2(A_l)))
/// fc2 and fc3 are shared by all layers and by K and V. Without fc1 it is the paper's ablation "uniform mean":
///   A_l = mean over E of H, so that K_l = V_l is the same for every layer.   Source: paper, section 3.2.
struct LayerWiseAligner {
  at::Tensor fc1_weight;  ///< [2L, E], undefined for the uniform mean
  at::Tensor fc1_bias;    ///< [2L], undefined for the uniform mean
  at::Tensor fc2_weight;  ///< [D, De]
  at::Tensor fc2_bias;    ///< [D]
  at::Tensor fc3_weight;  ///< [D, D], undefined for the Linear structure
  at::Tensor fc3_bias;    ///< [D], undefined for the Linear structure

  /// K-state and V-state of the adapted layer `index`, each [S, D], made from states_ESD [E, S, De] in its type. Called
  /// when the layer runs: the [2L, S, D] block of all layers never exists.
  std::pair<at::Tensor, at::Tensor> states(const at::Tensor& states_ESD, int64_t index) const;

  /// The weights in the order above, without the undefined ones.
  std::vector<at::Tensor> weights() const;
  /// An aligner of the same structure with other weights: as many as weights() has, from `first`.
  LayerWiseAligner with_weights(const at::Tensor* first) const;
};

/// What scales the fusion of each adapted layer. Trainable. Scalar: gate_l (the paper's). Dynamic: weight_l . x + bias_l of the
/// layer's normed input x, a number a token. With all undefined the fusion is added as it is.
struct Gates {
  at::Tensor scalar_L;   ///< [L], undefined unless scalar
  at::Tensor weight_LD;  ///< [L, D], undefined unless dynamic
  at::Tensor bias_L;     ///< [L], undefined unless dynamic

  std::vector<at::Tensor> weights() const;
  Gates with_weights(const at::Tensor* first) const;
};

}  // namespace layalign::model
