#pragma once

// Shape letters: P planes asked for, S tokens of all texts, R bytes of a row.

#include <ATen/ATen.h>

#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "data/activation_cache/activation_cache.h"

namespace layalign::data {

/// What was read for a batch of texts.
struct ReadBlocks {
  at::Tensor rows_PSR;  ///< uint8, texts one behind the other; undefined numbers where a text is in `damaged`
  /// Texts that could not be read (index in the batch) and why: the errors of Shard::read.
  std::vector<std::pair<size_t, std::exception_ptr>> damaged;
};

struct BlockReaderOptions {
  int threads = 2;
  /// Of blocks that wait to be taken; what is being taken is not counted. A quarter as much is kept for the next ones.
  int64_t memory_limit_bytes = int64_t{1} << 30;
  bool pinned = false;  ///< page-locked memory, for copies to a GPU
};

/// Reads blocks ahead in threads of its own: one announcement after the other, each in the order of the files; a wait
/// happens only where reading is slower than the steps.
///
/// Why not in the order of the files over all announcements: the next batch would be there only when nearly all are. Where reading is
/// the slower side, the next batch is what is waited for; where it is the faster side, all is read but the announcement that the last
/// `take` has made room for, and there is nothing to order. What could be gained is little: a text's block lies together, megabytes of a
/// large encoder, beside which a seek costs little even on a turning disk.
///
/// Threads: `expect`, `take` and `forget` from one thread.
class BlockReader {
 public:
  /// Keeps a reference. `planes`: which of the cache's planes are read, in the order of the result.
  BlockReader(const ActivationCache& cache, std::vector<int64_t> planes, const BlockReaderOptions& options);
  BlockReader(const BlockReader&) = delete;
  BlockReader& operator=(const BlockReader&) = delete;
  /// Reads nothing more and joins the threads.
  ~BlockReader();

  /// Announces texts that will be taken soon; returns at once. What does not fit into the memory limit is read when
  /// room is there; what is announced and never taken is dropped by `forget`. Cheapest where each announcement is what
  /// one `take` asks for: then nothing is copied.
  void expect(std::span<const CachedText> texts);

  /// The blocks of these texts, announced or not; waits for them. A text that was announced n times is kept for n
  /// takes.
  ReadBlocks take(std::span<const CachedText> texts);

  /// Drops everything announced and not taken.
  void forget();

  /// Bytes read from files so far, and the seconds that `take` waited.
  int64_t bytes_read() const;
  double waited_s() const;
  /// The most bytes that waited to be taken at one time.
  int64_t peak_waiting_bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace layalign::data
