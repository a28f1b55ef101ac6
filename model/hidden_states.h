#pragma once

// Shape letters: E encoder layers used, S encoder tokens of all samples, De encoder width.

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "model/encoder.h"

namespace layalign::model {

/// Keeps the chosen ones of hidden_states[0..n] while an encoder makes them in order.
class HiddenStates {
 public:
  /// `layers`: the chosen ones, ascending or not. `embedding_SD`: hidden_states[0].
  HiddenStates(std::vector<int64_t> layers, const at::Tensor& embedding_SD);

  /// The next of hidden_states[1..n-1].
  void add(const at::Tensor& state_SD);

  /// hidden_states[n]; gives what was kept.
  EncoderStates finish(const at::Tensor& last_SD);

 private:
  std::vector<int64_t> layers_;
  at::Tensor kept_ESD_;
  int64_t next_ = 0;
};

}  // namespace layalign::model
