#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <vector>

namespace layalign::model {

/// A piece of the forward pass as a function of tensors alone. Every tensor that wants a gradient must be an argument.
using Piece = std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>&)>;

/// Runs `piece` without keeping its activations and runs it again in backward (activation recomputation). Same values and
/// gradients as calling it, for the memory of its inputs. Without gradient mode it is a plain call.
/// Collectives: those of `piece`, once more in backward.
std::vector<at::Tensor> recompute(const Piece& piece, const std::vector<at::Tensor>& inputs);

}  // namespace layalign::model
