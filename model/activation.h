#pragma once

#include <ATen/ATen.h>

#include <string>

#include "model/hf_config.h"

namespace layalign::model {

/// The function between the two products of a feed-forward layer.
enum class Activation { kRelu, kSilu, kGelu, kGeluTanh };

/// The activation that transformers knows as `name`. `key` is the field it was read from.
/// Errors: ModelError naming the field.
Activation activation_of(const std::string& name, const HfConfig& config, const std::string& key);

at::Tensor activate(const at::Tensor& x, Activation activation);

}  // namespace layalign::model
