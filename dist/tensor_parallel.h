#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "dist/communicator.h"

namespace layalign::dist {

/// A rank's part of `total` rows that are dealt in equal blocks; the last blocks are padded where `total` does not
/// divide.
struct Shard {
  int64_t begin = 0;  ///< first real row
  int64_t end = 0;    ///< one past the last real row; end == begin for a rank that holds padding alone
  int64_t size = 0;   ///< rows of the block, padding included: ceil(total / ranks), equal on all ranks
};

/// The block of `rank` among `ranks`: rows [rank * size, (rank + 1) * size), cut at `total`.
Shard shard_of(int64_t total, int rank, int ranks);

/// Megatron's f, the entrance of a column-parallel layer: every rank uses the whole x, and each contributes a part of
/// its gradient.
///   local and global shape   x: [...], the same values on every rank
///   forward                  y = x                       no collective
///   backward                 dx = sum over ranks of dy   one all-reduce
/// Gradients: twice differentiable. No autograd node where the group has one rank or x needs no gradient.
at::Tensor copy_to_tensor_parallel(const at::Tensor& x, const Communicator& tp);

/// Megatron's g, the exit of a row-parallel layer: each rank holds a partial sum of the whole.
///   local shape   x: [...], a partial sum     global: y: [...], the same bits on every rank
///   forward       y = sum over ranks of x     one all-reduce
///   backward      dx = dy                     no collective
/// By value: an x that nobody else holds (a moved or temporary tensor) is reduced in place, any other is copied first.
/// Gradients: twice differentiable.
at::Tensor reduce_from_tensor_parallel(at::Tensor x, const Communicator& tp);

}  // namespace layalign::dist
