#include "trainer/frozen_check.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <string>

#include "checkpoints_tools/error.h"
#include "checkpoints_tools/verification.h"
#include "checkpoints_tools/weight_folder.h"

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

/// The least and the greatest value; NaN where one is.
at::Tensor range_of(const at::Tensor& tensor) {
  const auto [least, greatest] = at::aminmax(tensor);
  return at::stack({least, greatest}).to(at::kFloat);
}

/// Every tensor of the folder's files that has such a value, a line each.
std::string not_finite_in_files(const std::filesystem::path& model_folder) {
  std::string found;
  for (const auto& file : checkpoints_tools::WeightFolder(model_folder).files()) {
    for (const auto& problem : checkpoints_tools::weights_problems(file)) found += "\n  " + problem;
  }
  return found;
}

}  // namespace

void require_finite(const std::vector<at::Tensor>& weights, const std::filesystem::path& model_folder) {
  at::NoGradGuard no_grad;
  std::vector<at::Tensor> ranges;
  for (const at::Tensor& tensor : weights) {
    if (tensor.is_floating_point() && tensor.numel() > 0) ranges.push_back(range_of(tensor));
  }
  if (ranges.empty() || at::stack(ranges).isfinite().all().item<bool>()) return;
  const auto found = not_finite_in_files(model_folder);
  if (!found.empty()) {
    throw checkpoints_tools::CheckpointError("the weights in " + model_folder.string() +
                                             " are not all finite; get the files again, or mend them:" + found);
  }
  throw checkpoints_tools::CheckpointError("the weights loaded from " + model_folder.string() +
                                           " are not all finite, though its files are: a value that bfloat16 cannot hold (set "
                                           "parallel.precision: float32), or faulty memory");
}

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
