#include "model/rope.h"

#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <numbers>
#include <set>

#include "model/elementwise.h"
#include "model/work_counter.h"

namespace layalign::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

double parameter(HfConfig& config, const std::string& key, const nlohmann::json& parameters, const std::string& name,
                 double fallback) {
  const auto found = parameters.find(name);
  if (found == parameters.end() || found->is_null()) return fallback;
  if (!found->is_number()) config.refuse(key, "its '" + name + "' must be a number");
  return found->get<double>();
}

}  // namespace

RopeConfig RopeConfig::read(HfConfig& config, int64_t max_position_embeddings) {
  RopeConfig rope;
  rope.theta = config.number_or("rope_theta", 10000.0);
  const bool new_form = !config.value("rope_parameters").is_null();
  const std::string key = new_form ? "rope_parameters" : "rope_scaling";
  const nlohmann::json& parameters = config.value(key);
  if (new_form && !config.value("rope_scaling").is_null() && config.value("rope_scaling") != parameters) {
    config.refuse("rope_scaling", "rope_parameters is there too and says something else; remove one of them");
  }
  if (parameters.is_null()) return rope;
  if (!parameters.is_object()) config.refuse(key, "expected an object");

  const std::string type_key = parameters.contains("rope_type") ? "rope_type" : "type";
  if (parameters.contains(type_key)) {
    if (!parameters[type_key].is_string()) config.refuse(key, "its '" + type_key + "' must be a string");
    rope.type = parameters[type_key].get<std::string>();
  }
  rope.theta = parameter(config, key, parameters, "rope_theta", rope.theta);

  std::set<std::string> known = {"rope_type", "type", "rope_theta"};
  if (rope.type == "linear" || rope.type == "llama3") {
    known.insert("factor");
    rope.factor = parameter(config, key, parameters, "factor", 0.0);
    if (rope.factor < 1.0) config.refuse(key, "its 'factor' must be at least 1");
  }
  if (rope.type == "llama3") {
    known.insert({"low_freq_factor", "high_freq_factor", "original_max_position_embeddings"});
    rope.low_freq_factor = parameter(config, key, parameters, "low_freq_factor", rope.low_freq_factor);
    rope.high_freq_factor = parameter(config, key, parameters, "high_freq_factor", rope.high_freq_factor);
    if (rope.high_freq_factor <= rope.low_freq_factor) {
      config.refuse(key, "its 'high_freq_factor' must be larger than its 'low_freq_factor'");
    }
    rope.original_max_position_embeddings = static_cast<int64_t>(parameter(
        config, key, parameters, "original_max_position_embeddings", static_cast<double>(max_position_embeddings)));
  } else if (rope.type != "default" && rope.type != "linear") {
    config.refuse(key, "rope type '" + rope.type + "' is not supported (default, linear and llama3 are)");
  }
  for (const auto& [name, value] : parameters.items()) {
    if (!known.contains(name) && !value.is_null()) {
      config.refuse(key, "its '" + name + "' is not supported for rope type '" + rope.type + "'");
    }
  }
  return rope;
}

at::Tensor inverse_frequencies(const RopeConfig& config, int64_t head_dim) {
  const auto exponents = at::arange(0, head_dim, 2, at::kLong).to(at::kFloat) / static_cast<double>(head_dim);
  auto frequencies = 1.0 / at::pow(config.theta, exponents);
  if (config.type == "linear") return frequencies / config.factor;
  if (config.type != "llama3") return frequencies;

  // Llama 3: long waves are stretched by `factor`, short ones kept, those between blended.
  const double original = static_cast<double>(config.original_max_position_embeddings);
  const auto wave_length = 2 * std::numbers::pi / frequencies;
  const auto smooth = (original / wave_length - config.low_freq_factor) / (config.high_freq_factor - config.low_freq_factor);
  const auto blended = (1 - smooth) * frequencies / config.factor + smooth * frequencies;
  const auto is_long = wave_length > original / config.low_freq_factor;
  const auto is_short = wave_length < original / config.high_freq_factor;
  return at::where(is_long, frequencies / config.factor, at::where(is_short, frequencies, blended));
}

RopeTable rope_table(const at::Tensor& frequencies, const at::Tensor& positions_T) {
  const auto angles = at::outer(positions_T.to(at::kFloat), frequencies);
  const auto full = at::cat({angles, angles}, 1);
  return {full.cos(), full.sin()};
}

namespace {

/// Rotates x [T, heads, head_dim] into `to` of the same shape, which may be x; heads of a token lie together. `inverse` turns back.
void rotate(const at::Tensor& x, const at::Tensor& to, const RopeTable& table, bool inverse) {
  TORCH_CHECK(table.cos_TH.size(0) == x.size(0) && table.cos_TH.size(1) == x.size(2), "a rotation of ", table.cos_TH.sizes(), " for heads of ",
              x.sizes());
  const auto* const kernels = elementwise_kernels(x);
  if (kernels == nullptr) {
    const auto halves = x.chunk(2, -1);
    const auto rotated = inverse ? at::cat({halves[1], -halves[0]}, -1) : at::cat({-halves[1], halves[0]}, -1);
    to.copy_(x * table.cos_TH.unsqueeze(1) + rotated * table.sin_TH.unsqueeze(1));
    return;
  }
  const RotateRows work{.from = x.const_data_ptr<float>(),
                        .from_stride = x.stride(0),
                        .to = to.mutable_data_ptr<float>(),
                        .to_stride = to.stride(0),
                        .cos = table.cos_TH.const_data_ptr<float>(),
                        .sin = table.sin_TH.const_data_ptr<float>(),
                        .heads = x.size(1),
                        .head_dim = x.size(2),
                        .inverse = inverse};
  count_moved({x, to, table.cos_TH, table.sin_TH});
  for_rows(x.size(0), x.size(1) * x.size(2), [&](int64_t begin, int64_t end) { kernels->rotate(work, begin, end); });
}

/// x, or a copy of it whose heads of a token lie together.
at::Tensor with_dense_heads(const at::Tensor& x) {
  return x.stride(2) == 1 && x.stride(1) == x.size(2) ? x : x.contiguous();
}

struct RopeFunction : torch::autograd::Function<RopeFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& cos_TH, const at::Tensor& sin_TH) {
    context->save_for_backward({cos_TH, sin_TH});
    auto out = at::empty(x.sizes(), x.options());
    rotate(with_dense_heads(x), out, {cos_TH, sin_TH}, /*inverse=*/false);
    return out;
  }
  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    auto dx = at::empty(grads[0].sizes(), grads[0].options());
    rotate(with_dense_heads(grads[0]), dx, {saved[0], saved[1]}, /*inverse=*/true);
    return {dx, {}, {}};
  }
};

/// Views of `qkv`, of which queries and keys are turned in place.
Heads rotate_in_place(const at::Tensor& qkv, int64_t heads, int64_t kv_heads, const RopeTable& table) {
  const auto all = qkv.view({qkv.size(0), heads + 2 * kv_heads, table.cos_TH.size(1)});
  Heads parts{all.narrow(1, 0, heads), all.narrow(1, heads, kv_heads), all.narrow(1, heads + kv_heads, kv_heads)};
  rotate(parts.q, parts.q, table, /*inverse=*/false);
  rotate(parts.k, parts.k, table, /*inverse=*/false);
  return parts;
}

/// The same memory as a tensor of which autograd does not know that it is a view: an operator's output must not be one of its input.
at::Tensor without_base(const at::Tensor& view) {
  return at::empty({0}, view.options()).set_(view.storage(), view.storage_offset(), view.sizes(), view.strides());
}

struct HeadsFunction : torch::autograd::Function<HeadsFunction> {
  static variable_list forward(AutogradContext* context, const at::Tensor& qkv, int64_t heads, int64_t kv_heads,
                               const at::Tensor& cos_TH, const at::Tensor& sin_TH) {
    context->set_materialize_grads(false);
    context->save_for_backward({cos_TH, sin_TH});
    context->saved_data["heads"] = heads;
    context->saved_data["kv_heads"] = kv_heads;
    const auto parts = rotate_in_place(qkv.detach(), heads, kv_heads, {cos_TH, sin_TH});
    qkv.unsafeGetTensorImpl()->bump_version();  // an operator that kept it after all is found by autograd
    return {without_base(parts.q), without_base(parts.k), without_base(parts.v)};
  }
  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const RopeTable table{saved[0], saved[1]};
    const int64_t heads = context->saved_data["heads"].toInt(), kv_heads = context->saved_data["kv_heads"].toInt();
    const int64_t T = table.cos_TH.size(0), head_dim = table.cos_TH.size(1);
    const auto options = grads[0].defined() ? grads[0].options() : grads[1].defined() ? grads[1].options() : grads[2].options();
    auto all = at::empty({T, heads + 2 * kv_heads, head_dim}, options);
    int64_t first = 0;
    for (size_t i = 0; i < grads.size(); ++i) {
      const int64_t count = i == 0 ? heads : kv_heads;
      const auto part = all.narrow(1, first, count);
      first += count;
      if (!grads[i].defined()) {
        part.zero_();
      } else if (i == 2) {
        part.copy_(grads[i]);
      } else {
        rotate(with_dense_heads(grads[i]), part, table, /*inverse=*/true);
      }
    }
    return {all.flatten(1), {}, {}, {}, {}};
  }
};

}  // namespace

at::Tensor apply_rope(const at::Tensor& x, const RopeTable& table) {
  if (at::GradMode::is_enabled()) return RopeFunction::apply(x, table.cos_TH, table.sin_TH);
  auto out = at::empty(x.sizes(), x.options());
  rotate(with_dense_heads(x), out, table, /*inverse=*/false);
  return out;
}

Heads rotated_heads(const at::Tensor& qkv, int64_t heads, int64_t kv_heads, const RopeTable& table) {
  if (!at::GradMode::is_enabled()) return rotate_in_place(qkv, heads, kv_heads, table);
  const auto parts = HeadsFunction::apply(qkv, heads, kv_heads, table.cos_TH, table.sin_TH);
  return {parts[0], parts[1], parts[2]};
}

}  // namespace layalign::model
