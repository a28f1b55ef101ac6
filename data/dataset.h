#pragma once

#include <cstdint>
#include <string>

#include "data/sample.h"

namespace layalign::data {

/// The group of a row that names none: its own, by its place in the corpus, wherever the file lies.
inline std::string group_of_row(int64_t index) { return "row " + std::to_string(index); }

/// Samples by index, in a fixed order.
/// Threads: all functions may be called from many threads at once.
class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual int64_t size() const = 0;
  /// Errors: DataError where the text of the sample cannot be used.
  virtual Sample get(int64_t index) const = 0;
  virtual const std::string& language(int64_t index) const = 0;
  /// The problem that the sample belongs to: a dev split is made by group, so that none is in both parts.
  virtual std::string group(int64_t index) const = 0;
  /// No source has more tokens: the limit to which text is cut, or the longest of the ids.
  virtual int64_t longest_source() const = 0;
  /// What tells this content from another: a hash of every row, the same wherever the files lie.
  virtual std::string fingerprint() const = 0;
};

}  // namespace layalign::data
