#include "model/trainables.h"

#include <ATen/CPUGeneratorImpl.h>

#include <cmath>
#include <numeric>

namespace layalign::model {
namespace {

int64_t numel(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

}  // namespace

TrainableLayout trainable_layout(const TrainableSizes& sizes) {
  const int64_t E = sizes.encoder_layers, L = sizes.language_layers, De = sizes.encoder_width, D = sizes.llm_width;
  TrainableLayout layout = {
      {"mapping.linear1.weight", {2 * De, De}}, {"mapping.linear1.bias", {2 * De}}, {"mapping.linear2.weight", {D, 2 * De}},
      {"mapping.linear2.bias", {D}},            {"mapping.end_boundary", {D}},      {"aligner.fc1.weight", {2 * L, E}},
      {"aligner.fc1.bias", {2 * L}},            {"aligner.fc2.weight", {D, De}},    {"aligner.fc2.bias", {D}}};
  if (sizes.mlp) layout.insert(layout.end(), {{"aligner.fc3.weight", {D, D}}, {"aligner.fc3.bias", {D}}});
  layout.push_back({"gates", {L}});
  return layout;
}

Trainables::Trainables(const TrainableSizes& sizes, at::Device device, int64_t riders) : layout_(trainable_layout(sizes)) {
  int64_t total = 0;
  for (const auto& [name, shape] : layout_) total += numel(shape);
  masters_ = at::zeros({total}, at::TensorOptions(device).dtype(at::kFloat));
  gradients_ = at::zeros({total + riders}, masters_.options());

  std::vector<at::Tensor*> members = {&mapping.linear1_weight, &mapping.linear1_bias, &mapping.linear2_weight,
                                      &mapping.linear2_bias,   &mapping.end_boundary, &aligner.fc1_weight,
                                      &aligner.fc1_bias,       &aligner.fc2_weight,   &aligner.fc2_bias};
  if (sizes.mlp) members.insert(members.end(), {&aligner.fc3_weight, &aligner.fc3_bias});
  members.push_back(&gates_L);
  int64_t offset = 0;
  for (size_t i = 0; i < layout_.size(); ++i) {
    const auto& [name, shape] = layout_[i];
    const int64_t count = numel(shape);
    *members[i] = masters_.narrow(0, offset, count).view(shape).detach().requires_grad_();
    members[i]->mutable_grad() = gradients_.narrow(0, offset, count).view(shape);
    offset += count;
    if (name.starts_with("mapping.")) mapping_size_ = offset;
  }
}

void Trainables::initialise(uint64_t seed) {
  at::NoGradGuard no_grad;
  auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  std::vector<at::Tensor> values;
  int64_t fan_in = 1;  // of the weight that comes before its bias
  for (const auto& [name, shape] : layout_) {
    auto value = at::zeros(shape, at::kFloat);
    if (name.ends_with(".weight")) fan_in = shape[1];
    if (name.ends_with(".weight") || name.ends_with(".bias")) {
      const double bound = 1.0 / std::sqrt(static_cast<double>(fan_in));
      value.uniform_(-bound, bound, generator);
    }
    values.push_back(value.flatten());
  }
  masters_.copy_(at::cat(values));
}

void Trainables::zero_gradients() { gradients_.zero_(); }

}  // namespace layalign::model
