#pragma once

// Shape letters: P planes, S tokens of all texts, R bytes of a row.

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>

namespace layalign::data {

/// Memory for batches of blocks, used again when a batch is gone: the system clears fresh pages, which costs as much
/// time as reading the bytes. Threads: any.
class BlockMemory {
 public:
  /// `keep_bytes`: the most that is kept for later. `pinned`: page-locked memory of LibTorch's allocator, which keeps all for later. A
  /// copy to a GPU that does not block may go on when the tensor is gone: LibTorch notes the stream of the copy with the piece, and
  /// gives it away again only when an event behind the copy has happened.
  BlockMemory(int64_t keep_bytes, bool pinned);

  /// uint8, content undefined. The memory comes back when the tensor and all views of it are gone.
  at::Tensor rows_PSR(int64_t planes, int64_t tokens, int64_t row_bytes) const;

  /// What rows of so many bytes count for in a memory limit: LibTorch's page-locked pieces are powers of two.
  int64_t counted_bytes(int64_t bytes) const;

 private:
  struct Pool;
  std::shared_ptr<Pool> pool_;  // outlives this object where tensors do
  bool pinned_;
};

}  // namespace layalign::data
