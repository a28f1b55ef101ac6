#include "trainer/frozen_check.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>

namespace layalign::trainer {
namespace {

/// The sum of a tensor's bits, taken as whole numbers: any single flipped bit changes it.
at::Tensor sum_of_bits(const at::Tensor& tensor) {
  constexpr int64_t kPiece = int64_t{1} << 24;  // words: the sum of a piece may need it again as int64
  const auto flat = tensor.contiguous().view(-1);
  const auto words = flat.view(flat.nbytes() % sizeof(int32_t) == 0 ? at::kInt : at::kChar);
  auto sum = at::zeros({}, words.options().dtype(at::kLong));
  for (int64_t begin = 0; begin < words.numel(); begin += kPiece) {
    sum += words.narrow(0, begin, std::min(kPiece, words.numel() - begin)).sum(at::kLong);
  }
  return sum;
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
