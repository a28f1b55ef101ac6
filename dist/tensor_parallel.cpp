#include "dist/tensor_parallel.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <algorithm>
#include <utility>

namespace layalign::dist {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Carries the group from forward to backward: autograd's context stores IValues only.
struct GroupHolder : torch::CustomClassHolder {
  explicit GroupHolder(Communicator group) : tp(std::move(group)) {}
  Communicator tp;
};

void save_group(AutogradContext* context, const Communicator& tp) {
  context->saved_data["tp"] = c10::IValue::make_capsule(c10::make_intrusive<GroupHolder>(tp));
}

Communicator saved_group(AutogradContext* context) {
  return c10::static_intrusive_pointer_cast<GroupHolder>(context->saved_data["tp"].toCapsule())->tp;
}

// True where nobody else can see the memory: one handle, one tensor on the storage (a view, or a tensor that autograd
// saved, would be a second one), and memory that LibTorch owns.
bool is_ours_alone(const at::Tensor& x) {
  return x.use_count() == 1 && x.storage().use_count() == 1 && x.storage().resizable() && x.is_contiguous() &&
         !(x.is_leaf() && x.requires_grad());
}

// Each is the other's derivative, so each backward is a call of the other and is itself differentiable.
struct CopyToTensorParallel : torch::autograd::Function<CopyToTensorParallel> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const Communicator& tp) {
    save_group(context, tp);
    return x;
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    return {reduce_from_tensor_parallel(std::move(grads[0]), saved_group(context)), at::Tensor()};
  }
};

struct ReduceFromTensorParallel : torch::autograd::Function<ReduceFromTensorParallel> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const Communicator& tp, bool in_place) {
    save_group(context, tp);
    at::Tensor y = in_place ? x.variable_data() : x.detach().clone(at::MemoryFormat::Contiguous);
    tp.all_reduce(y);
    return y;
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    return {copy_to_tensor_parallel(grads[0], saved_group(context)), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

Shard shard_of(int64_t total, int rank, int ranks) {
  TORCH_CHECK(total >= 0 && ranks >= 1 && rank >= 0 && rank < ranks, "shard_of: ", total, " rows, rank ", rank, " of ",
              ranks);
  Shard shard;
  shard.size = (total + ranks - 1) / ranks;
  shard.begin = std::min(total, rank * shard.size);
  shard.end = std::min(total, shard.begin + shard.size);
  return shard;
}

at::Tensor copy_to_tensor_parallel(const at::Tensor& x, const Communicator& tp) {
  if (tp.size() == 1 || !at::GradMode::is_enabled() || !x.requires_grad()) return x;
  return CopyToTensorParallel::apply(x, tp);
}

at::Tensor reduce_from_tensor_parallel(at::Tensor x, const Communicator& tp) {
  if (tp.size() == 1) {
    tp.go_on();
    return x;
  }
  const bool in_place = is_ours_alone(x);
  return ReduceFromTensorParallel::apply(x, tp, in_place);
}

}  // namespace layalign::dist
