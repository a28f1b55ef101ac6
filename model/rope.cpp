#include "model/rope.h"

#include <cmath>
#include <numbers>
#include <set>

namespace layalign::model {
namespace {

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

at::Tensor apply_rope(const at::Tensor& x, const RopeTable& table) {
  const auto halves = x.chunk(2, -1);
  const auto rotated = at::cat({-halves[1], halves[0]}, -1);
  return (x * table.cos_TH.unsqueeze(1) + rotated * table.sin_TH.unsqueeze(1)).to(x.scalar_type());
}

}  // namespace layalign::model
