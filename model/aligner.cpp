#include "model/aligner.h"

namespace layalign::model {
namespace {

/// A float32 master used in products of the compute type; its gradient comes back, and is summed, in float32.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return at::linear(x, weight.to(x.scalar_type()), bias.to(x.scalar_type()));
}

}  // namespace

at::Tensor Mapping::operator()(const at::Tensor& last_SD) const {
  return linear(at::relu(linear(last_SD, linear1_weight, linear1_bias)), linear2_weight, linear2_bias);
}

std::pair<at::Tensor, at::Tensor> LayerWiseAligner::states(const at::Tensor& states_ESD, int64_t index) const {
  const auto type = states_ESD.scalar_type();
  const auto weight_2E = fc1_weight.narrow(0, 2 * index, 2).to(type);
  const auto bias_2 = fc1_bias.narrow(0, 2 * index, 2).to(type).unsqueeze(1);
  const auto mixed = at::relu(at::addmm(bias_2, weight_2E, states_ESD.flatten(1)));
  auto states_2SD = linear(mixed.view({2, states_ESD.size(1), states_ESD.size(2)}), fc2_weight, fc2_bias);
  if (fc3_weight.defined()) states_2SD = linear(at::relu(states_2SD), fc3_weight, fc3_bias);
  return {states_2SD[0], states_2SD[1]};
}

std::vector<at::Tensor> LayerWiseAligner::weights() const {
  std::vector<at::Tensor> all = {fc1_weight, fc1_bias, fc2_weight, fc2_bias};
  if (fc3_weight.defined()) all.insert(all.end(), {fc3_weight, fc3_bias});
  return all;
}

LayerWiseAligner LayerWiseAligner::from_weights(const at::Tensor* first, size_t count) {
  LayerWiseAligner aligner{first[0], first[1], first[2], first[3], {}, {}};
  if (count == 6) aligner.fc3_weight = first[4], aligner.fc3_bias = first[5];
  return aligner;
}

}  // namespace layalign::model
