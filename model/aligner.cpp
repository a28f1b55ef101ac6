#include "model/aligner.h"

#include "model/linear.h"

namespace layalign::model {
namespace {

/// A float32 master used in products of the compute type; its gradient comes back, and is summed, in float32.
at::Tensor master_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return apply_linear(x, weight.to(x.scalar_type()), bias.to(x.scalar_type()));
}

std::vector<at::Tensor> defined(std::initializer_list<at::Tensor> tensors) {
  std::vector<at::Tensor> result;
  for (const auto& tensor : tensors) {
    if (tensor.defined()) result.push_back(tensor);
  }
  return result;
}

/// Fills those members that are defined from consecutive tensors.
void replace(std::initializer_list<at::Tensor*> members, const at::Tensor* next) {
  for (at::Tensor* member : members) {
    if (member->defined()) *member = *next++;
  }
}

}  // namespace

at::Tensor Mapping::operator()(const at::Tensor& last_SD) const {
  const auto first = master_linear(last_SD, linear1_weight, linear1_bias);
  return linear2_weight.defined() ? master_linear(at::relu(first), linear2_weight, linear2_bias) : first;
}

std::pair<at::Tensor, at::Tensor> LayerWiseAligner::states(const at::Tensor& states_ESD, int64_t index) const {
  const auto project = [&](const at::Tensor& mixed) {
    const auto states = master_linear(mixed, fc2_weight, fc2_bias);
    return fc3_weight.defined() ? master_linear(at::relu(states), fc3_weight, fc3_bias) : states;
  };
  if (!fc1_weight.defined()) {
    const auto states_SD = project(states_ESD.mean(0));
    return {states_SD, states_SD};
  }
  const auto type = states_ESD.scalar_type();
  const auto weight_2E = fc1_weight.narrow(0, 2 * index, 2).to(type);
  const auto bias_2 = fc1_bias.narrow(0, 2 * index, 2).to(type).unsqueeze(1);
  const auto mixed = at::relu(at::addmm(bias_2, weight_2E, states_ESD.flatten(1)));
  const auto states_2SD = project(mixed.view({2, states_ESD.size(1), states_ESD.size(2)}));
  return {states_2SD[0], states_2SD[1]};
}

std::vector<at::Tensor> LayerWiseAligner::weights() const {
  return defined({fc1_weight, fc1_bias, fc2_weight, fc2_bias, fc3_weight, fc3_bias});
}

LayerWiseAligner LayerWiseAligner::with_weights(const at::Tensor* first) const {
  auto aligner = *this;
  replace({&aligner.fc1_weight, &aligner.fc1_bias, &aligner.fc2_weight, &aligner.fc2_bias, &aligner.fc3_weight,
           &aligner.fc3_bias}, first);
  return aligner;
}

std::vector<at::Tensor> Gates::weights() const { return defined({scalar_L, weight_LD, bias_L}); }

Gates Gates::with_weights(const at::Tensor* first) const {
  auto gates = *this;
  replace({&gates.scalar_L, &gates.weight_LD, &gates.bias_L}, first);
  return gates;
}

}  // namespace layalign::model
