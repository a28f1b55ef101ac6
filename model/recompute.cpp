#include "model/recompute.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

namespace layalign::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct PieceHolder : torch::CustomClassHolder {
  explicit PieceHolder(Piece function) : piece(std::move(function)) {}
  Piece piece;
};

struct RecomputeFunction : torch::autograd::Function<RecomputeFunction> {
  static variable_list forward(AutogradContext* context, const Piece& piece, at::TensorList inputs) {
    context->saved_data["piece"] = c10::IValue::make_capsule(c10::make_intrusive<PieceHolder>(piece));
    c10::List<bool> wants_grad;
    for (const auto& input : inputs) wants_grad.push_back(input.requires_grad());
    context->saved_data["wants_grad"] = wants_grad;
    context->save_for_backward(inputs.vec());
    return piece(inputs.vec());
  }

  static variable_list backward(AutogradContext* context, const variable_list& output_grads) {
    const auto saved = context->get_saved_variables();
    const auto flags = context->saved_data["wants_grad"].toBoolList();
    const auto holder = c10::static_intrusive_pointer_cast<PieceHolder>(context->saved_data["piece"].toCapsule());
    variable_list inputs, wanted;
    for (size_t i = 0; i < saved.size(); ++i) {
      inputs.push_back(saved[i].detach().requires_grad_(flags[i]));
      if (flags[i]) wanted.push_back(inputs.back());
    }
    variable_list outputs;
    {
      at::AutoGradMode enable(true);
      outputs = holder->piece(inputs);
    }
    const auto grads = torch::autograd::grad(outputs, wanted, output_grads, /*retain_graph=*/false,
                                             /*create_graph=*/false, /*allow_unused=*/true);
    variable_list result(1);  // no gradient for the piece itself
    size_t next = 0;
    for (size_t i = 0; i < saved.size(); ++i) result.push_back(flags[i] ? grads[next++] : at::Tensor());
    return result;
  }
};

}  // namespace

std::vector<at::Tensor> recompute(const Piece& piece, const std::vector<at::Tensor>& inputs) {
  if (!at::GradMode::is_enabled()) return piece(inputs);
  return RecomputeFunction::apply(piece, at::TensorList(inputs));
}

}  // namespace layalign::model
