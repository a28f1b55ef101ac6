#pragma once

// Shape letters: K looked-up tokens, N label rows, D LLM width, V vocabulary, Vl = ceil(V / tp) rows of this rank.

#include <ATen/ATen.h>

#include "dist/communicator.h"
#include "dist/tensor_parallel.h"

namespace layalign::model {

/// A [V, D] matrix of which each tensor-parallel rank holds the rows of `shard`, padded with zero rows to shard.size.
struct VocabularyShard {
  at::Tensor weight_VlD;
  dist::Shard shard;
};

/// Rows of the embedding: [K] -> [K, D]. Frozen, so without gradient.
///   y[k] = sum over ranks of (ids[k] in shard ? W[ids[k] - begin] : 0)
/// Collectives: one all-reduce of [K, D].
at::Tensor vocabulary_embedding(const at::Tensor& ids_K, const VocabularyShard& embedding, const dist::Communicator& tp);

/// Cross-entropy of each label row against sharded logits, which are never gathered: [N, D], [N] -> float32 [N].
///   z = h W^T (float32);  m = max z;  s = sum exp(z - m);  loss = log s + m - z[label]
/// Runs in chunks of rows and writes the gradient of the hidden rows at once, so [N, V] never exists:
///   dh = g (softmax(z) - onehot(label)) W
/// Collectives: two all-reduces a chunk ([rows] maximum; [2, rows] sum), and with gradients one of [N, D]; backward: none.
at::Tensor vocabulary_cross_entropy(const at::Tensor& hidden_ND, const at::Tensor& labels_N, const VocabularyShard& head,
                                    const dist::Communicator& tp);

/// Logits of all vocabulary entries: [N, D] -> float32 [N, V]. For tests and generation.
/// Collectives: one all-gather of [N, Vl].
at::Tensor vocabulary_logits(const at::Tensor& hidden_ND, const VocabularyShard& head, const dist::Communicator& tp,
                             int64_t vocabulary_size);

/// The id of the largest logit of each row, of equals the lowest: [N, D] -> int64 [N].
/// Collectives: one all-gather of [2, N].
at::Tensor vocabulary_argmax(const at::Tensor& hidden_ND, const VocabularyShard& head, const dist::Communicator& tp);

}  // namespace layalign::model
