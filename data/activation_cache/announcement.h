#pragma once

// Shape letters: P planes asked for, S tokens of all texts, R bytes of a row.

#include <ATen/ATen.h>

#include <cstdint>
#include <exception>
#include <span>
#include <vector>

#include "data/activation_cache/activation_cache.h"

namespace layalign::data {

/// Texts that are read into one tensor, and how far that is. Threads: guarded by the reader's mutex, but for the bytes
/// of texts that are being read.
struct Announcement {
  enum class Progress {
    kWaiting,  ///< nobody reads it yet
    kReading,
    kDone,
    kTaken,  ///< given away, or never to be read
  };

  explicit Announcement(std::span<const CachedText> announced);

  int64_t tokens() const { return starts.back(); }
  bool is_for(std::span<const CachedText> wanted) const;
  /// Whether there is a text that nobody reads yet.
  bool has_waiting();
  /// The next of them in the order of the files, at least one, of about `bytes` together, `token_bytes` a token.
  std::vector<size_t> next_run(int64_t bytes, int64_t token_bytes);

  std::vector<CachedText> texts;
  std::vector<int64_t> starts;  ///< [texts + 1] the first token of each text in rows_PSR
  std::vector<Progress> progress;
  std::vector<std::exception_ptr> problems;  ///< why a text could not be read; null: it could
  int64_t unread = 0;                 ///< texts that are waiting or being read
  int64_t untaken = 0;
  int64_t bytes = 0;     ///< that rows_PSR counts for in the memory limit
  bool started = false;  ///< rows_PSR is there
  bool urgent = false;   ///< somebody waits for it: no memory limit
  at::Tensor rows_PSR;

 private:
  std::vector<int64_t> order_;  // texts in the order of the files
  size_t next_ = 0;             // in order_
};

}  // namespace layalign::data
