#include "data/activation_cache/block_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

namespace layalign::data {

namespace {

/// Asks for pages of 2 MiB, which are cleared and found faster; no is an answer, too.
void use_huge_pages(const at::Tensor& piece) {
  constexpr uintptr_t kPage = 2 << 20;
  const auto begin = reinterpret_cast<uintptr_t>(piece.const_data_ptr());
  const uintptr_t first = (begin + kPage - 1) / kPage * kPage, last = (begin + piece.nbytes()) / kPage * kPage;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
}

}  // namespace

struct BlockMemory::Pool {
  std::mutex mutex;
  std::vector<at::Tensor> free;  // the one given back last at the end
  int64_t free_bytes = 0;
  int64_t keep_bytes = 0;

  /// A piece of at least `bytes`, not much larger.
  at::Tensor take(int64_t bytes) {
    {
      const std::lock_guard lock(mutex);
      // The last one given back is still in the processor's cache.
      const auto fits = [bytes](const at::Tensor& piece) { return piece.numel() >= bytes && piece.numel() <= bytes + bytes / 2; };
      const auto found = std::find_if(free.rbegin(), free.rend(), fits);
      if (found != free.rend()) {
        at::Tensor piece = std::move(*found);
        free_bytes -= piece.numel();
        free.erase(std::next(found).base());
        return piece;
      }
    }
    at::Tensor piece =
        at::empty({bytes + bytes / 8}, at::kByte);  // batches are of similar sizes: the next one fits, too
    use_huge_pages(piece);
    return piece;
  }

  void give_back(at::Tensor piece) {
    if (piece.numel() > keep_bytes) return;
    const std::lock_guard lock(mutex);
    free_bytes += piece.numel();
    free.push_back(std::move(piece));
    while (free_bytes > keep_bytes) {
      free_bytes -= free.front().numel();
      free.erase(free.begin());
    }
  }
};

BlockMemory::BlockMemory(int64_t keep_bytes, bool pinned) : pool_(std::make_shared<Pool>()), pinned_(pinned) {
  pool_->keep_bytes = keep_bytes;
}

int64_t BlockMemory::counted_bytes(int64_t bytes) const {
  return pinned_ ? static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(bytes))) : bytes;
}

at::Tensor BlockMemory::rows_PSR(int64_t planes, int64_t tokens, int64_t row_bytes) const {
  const auto options = at::TensorOptions(at::kByte);
  if (pinned_) return at::empty({planes, tokens, row_bytes}, options.pinned_memory(true));
  const int64_t bytes = planes * tokens * row_bytes;
  if (bytes == 0) return at::empty({planes, tokens, row_bytes}, options);
  at::Tensor piece = pool_->take(bytes);
  void* memory = piece.mutable_data_ptr();
  return at::from_blob(
      memory, {planes, tokens, row_bytes},
      [pool = pool_, piece = std::move(piece)](void*) mutable { pool->give_back(std::move(piece)); }, options);
}

}  // namespace layalign::data
