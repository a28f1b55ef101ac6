#include "trainer/frozen_check.h"

#include <ATen/core/grad_mode.h>

namespace layalign::trainer {
namespace {

/// The sum of a tensor's bits, taken as whole numbers: any single flipped bit changes it.
at::Tensor sum_of_bits(const at::Tensor& tensor) {
  const auto flat = tensor.contiguous().view(-1);
  const auto words = flat.nbytes() % sizeof(int32_t) == 0 ? at::kInt : at::kChar;
  return flat.view(words).sum(at::kLong);
}

}  // namespace

int64_t FrozenCheck::changed(const std::vector<at::Tensor>& weights) {
  at::NoGradGuard no_grad;
  if (weights.empty()) return 0;
  std::vector<at::Tensor> sums;
  for (const at::Tensor& tensor : weights) sums.push_back(sum_of_bits(tensor));
  const auto before = sums_;
  sums_ = at::stack(sums);
  if (!before.defined()) return 0;
  return sums_.narrow(0, 0, before.numel()).ne(before).sum().item<int64_t>();
}

}  // namespace layalign::trainer
