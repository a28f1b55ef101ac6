#include "model/hidden_states.h"

namespace layalign::model {

HiddenStates::HiddenStates(std::vector<int64_t> layers, const at::Tensor& embedding_SD)
    : layers_(std::move(layers)),
      kept_ESD_(at::empty({static_cast<int64_t>(layers_.size()), embedding_SD.size(0), embedding_SD.size(1)},
                          embedding_SD.options())) {
  add(embedding_SD);
}

void HiddenStates::add(const at::Tensor& state_SD) {
  for (size_t e = 0; e < layers_.size(); ++e) {
    if (layers_[e] == next_) kept_ESD_[static_cast<int64_t>(e)].copy_(state_SD);
  }
  ++next_;
}

EncoderStates HiddenStates::finish(const at::Tensor& last_SD) {
  add(last_SD);
  return {kept_ESD_, last_SD};
}

}  // namespace layalign::model
