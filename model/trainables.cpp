#include "model/trainables.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <map>
#include <numeric>

namespace layalign::model {
namespace {

int64_t numel(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

}  // namespace

TrainableLayout trainable_layout(const TrainableSizes& sizes) {
  const int64_t E = sizes.encoder_layers, L = sizes.language_layers, De = sizes.encoder_width, D = sizes.llm_width;
  TrainableLayout layout;
  const auto linear = [&](const std::string& name, int64_t out, int64_t in) {
    layout.insert(layout.end(), {{name + ".weight", {out, in}}, {name + ".bias", {out}}});
  };
  if (sizes.mapping == MappingKind::kMlp) linear("mapping.linear1", 2 * De, De), linear("mapping.linear2", D, 2 * De);
  if (sizes.mapping == MappingKind::kLinear) linear("mapping.linear1", D, De);
  if (sizes.mapping != MappingKind::kNone) layout.push_back({"mapping.end_boundary", {D}});
  if (sizes.aligner == AlignerKind::kNone) return layout;
  if (sizes.aligner == AlignerKind::kLayerWise) linear("aligner.fc1", 2 * L, E);
  linear("aligner.fc2", D, De);
  if (sizes.mlp) linear("aligner.fc3", D, D);
  if (sizes.gate == GateKind::kScalar) layout.push_back({"gates", {L}});
  if (sizes.gate == GateKind::kDynamic) linear("gates", L, D);
  return layout;
}

Trainables::Trainables(const TrainableSizes& sizes, at::Device device, int64_t riders)
    : sizes_(sizes), layout_(trainable_layout(sizes)) {
  int64_t total = 0;
  for (const auto& [name, shape] : layout_) total += numel(shape);
  masters_ = at::zeros({total}, at::TensorOptions(device).dtype(at::kFloat));
  gradients_ = at::zeros({total + riders}, masters_.options());

  const std::map<std::string, at::Tensor*> members = {
      {"mapping.linear1.weight", &mapping.linear1_weight}, {"mapping.linear1.bias", &mapping.linear1_bias},
      {"mapping.linear2.weight", &mapping.linear2_weight}, {"mapping.linear2.bias", &mapping.linear2_bias},
      {"mapping.end_boundary", &mapping.end_boundary},     {"aligner.fc1.weight", &aligner.fc1_weight},
      {"aligner.fc1.bias", &aligner.fc1_bias},             {"aligner.fc2.weight", &aligner.fc2_weight},
      {"aligner.fc2.bias", &aligner.fc2_bias},             {"aligner.fc3.weight", &aligner.fc3_weight},
      {"aligner.fc3.bias", &aligner.fc3_bias},             {"gates", &gates.scalar_L},
      {"gates.weight", &gates.weight_LD},                  {"gates.bias", &gates.bias_L}};
  int64_t offset = 0;
  for (const auto& [name, shape] : layout_) {
    const int64_t count = numel(shape);
    at::Tensor& member = *members.at(name);
    member = masters_.narrow(0, offset, count).view(shape).detach().requires_grad_();
    member.mutable_grad() = gradients_.narrow(0, offset, count).view(shape);
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
    const bool is_linear = name.ends_with(".weight") || name.ends_with(".bias");
    if (is_linear && !name.starts_with("gates")) {
      const double bound = 1.0 / std::sqrt(static_cast<double>(fan_in));
      value.uniform_(-bound, bound, generator);
    }
    values.push_back(value.flatten());
  }
  masters_.copy_(at::cat(values));
}

void Trainables::zero_gradients() { gradients_.zero_(); }

}  // namespace layalign::model
