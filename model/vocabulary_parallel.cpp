#include "model/vocabulary_parallel.h"

#include <torch/csrc/autograd/custom_function.h>

#include <limits>

#include "model/few_rows.h"
#include "model/linear.h"

namespace layalign::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Float32 logits of one chunk are kept below this, whatever the vocabulary.
constexpr int64_t kChunkBytes = int64_t{128} << 20;

struct OwnedRows {
  at::Tensor rows;   ///< row in the shard, 0 where another rank owns the id
  at::Tensor other;  ///< true where another rank owns the id
};

OwnedRows owned_rows(const at::Tensor& ids, const dist::Shard& shard) {
  const auto other = at::logical_or(ids < shard.begin, ids >= shard.end);
  return {(ids - shard.begin).masked_fill(other, 0), other};
}

at::Tensor local_logits(const at::Tensor& hidden, const VocabularyShard& head) {
  auto logits = frozen_linear(hidden, head.weight_VlD).to(at::kFloat);
  const int64_t real = head.shard.end - head.shard.begin;
  if (real < head.shard.size) {
    logits.narrow(1, real, head.shard.size - real).fill_(-std::numeric_limits<float>::infinity());
  }
  return logits;
}

/// Losses of a chunk of rows; turns `logits` into their softmax where `want_gradient`.
at::Tensor chunk_losses(at::Tensor& logits, const OwnedRows& owned, const dist::Communicator& tp, bool want_gradient) {
  auto maximum = logits.amax(1);
  tp.all_reduce(maximum, dist::Reduce::kMax);
  logits.sub_(maximum.unsqueeze(1));
  const auto target = logits.gather(1, owned.rows.unsqueeze(1)).squeeze(1).masked_fill(owned.other, 0);
  logits.exp_();
  const auto sums = at::stack({logits.sum(1), target});
  tp.all_reduce(sums);
  if (want_gradient) logits.div_(sums[0].unsqueeze(1));
  return sums[0].log().sub_(sums[1]);
}

/// (softmax - onehot) W, this rank's part of it. The label's row is subtracted by itself: within the product, terms as small as
/// a probability would be added to one as large as a weight, and lose their digits.
at::Tensor chunk_gradient(const at::Tensor& softmax, const OwnedRows& owned, const at::Tensor& weight_VlD) {
  const auto label_rows = weight_VlD.index_select(0, owned.rows).masked_fill_(owned.other.unsqueeze(1), 0);
  return product(softmax.to(weight_VlD.scalar_type()), weight_VlD).sub_(label_rows);
}

struct CrossEntropy : torch::autograd::Function<CrossEntropy> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& hidden_ND, const at::Tensor& labels_N,
                            const VocabularyShard& head, const dist::Communicator& tp, bool want_gradient) {
    const int64_t rows = hidden_ND.size(0);
    const int64_t chunk = std::max<int64_t>(1, kChunkBytes / (4 * head.shard.size));
    std::vector<at::Tensor> losses, gradients;
    for (int64_t begin = 0; begin < rows; begin += chunk) {
      const int64_t count = std::min(chunk, rows - begin);
      auto logits = local_logits(hidden_ND.narrow(0, begin, count), head);
      const auto owned = owned_rows(labels_N.narrow(0, begin, count), head.shard);
      losses.push_back(chunk_losses(logits, owned, tp, want_gradient));
      if (want_gradient) gradients.push_back(chunk_gradient(logits, owned, head.weight_VlD));
    }
    if (want_gradient) {
      const auto gradient_ND = at::cat(gradients);
      tp.all_reduce(gradient_ND);
      context->save_for_backward({gradient_ND});
    }
    return at::cat(losses);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto gradient_ND = context->get_saved_variables()[0];
    // The scale (one over the label tokens) stays float32: rounded to bfloat16 it would bend every gradient alike.
    return {(gradient_ND.to(at::kFloat) * grads[0].unsqueeze(1)).to(gradient_ND.scalar_type()), {}, {}, {}, {}};
  }
};

}  // namespace

at::Tensor vocabulary_embedding(const at::Tensor& ids_K, const VocabularyShard& embedding, const dist::Communicator& tp) {
  at::NoGradGuard no_grad;
  if (tp.size() == 1) return at::embedding(embedding.weight_VlD, ids_K);
  const auto owned = owned_rows(ids_K, embedding.shard);
  auto rows_KD = at::embedding(embedding.weight_VlD, owned.rows);
  rows_KD.masked_fill_(owned.other.unsqueeze(1), 0);
  tp.all_reduce(rows_KD);
  return rows_KD;
}

at::Tensor vocabulary_cross_entropy(const at::Tensor& hidden_ND, const at::Tensor& labels_N, const VocabularyShard& head,
                                    const dist::Communicator& tp) {
  return CrossEntropy::apply(hidden_ND, labels_N, head, tp, at::GradMode::is_enabled() && hidden_ND.requires_grad());
}

at::Tensor vocabulary_logits(const at::Tensor& hidden_ND, const VocabularyShard& head, const dist::Communicator& tp,
                             int64_t vocabulary_size) {
  const auto local = local_logits(hidden_ND, head).contiguous();
  const auto gathered = tp.all_gather(local);  // [tp, N, Vl]
  return gathered.permute({1, 0, 2}).reshape({hidden_ND.size(0), -1}).narrow(1, 0, vocabulary_size);
}

at::Tensor vocabulary_argmax(const at::Tensor& hidden_ND, const VocabularyShard& head, const dist::Communicator& tp) {
  const auto [value_N, row_N] = local_logits(hidden_ND, head).max(1);
  // A double holds a float32 logit and an id exactly. The first of equal maxima is that of the lowest rank.
  const auto mine = at::stack({value_N.to(at::kDouble), (row_N + head.shard.begin).to(at::kDouble)});
  const auto all = tp.all_gather(mine);  // [tp, 2, N]
  const auto best_N = all.select(1, 0).argmax(0);
  return all.select(1, 1).gather(0, best_N.unsqueeze(0)).squeeze(0).to(at::kLong);
}

}  // namespace layalign::model
