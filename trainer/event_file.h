#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "checkpoints_tools/file_operations.h"

namespace layalign::trainer {

/// CRC-32C (Castagnoli), as RFC 3720 has it.
uint32_t crc32c(std::string_view bytes);

/// A record of TensorFlow's TFRecord files: length (uint64), its checksum, the bytes, their checksum; little endian,
/// each checksum a CRC-32C that is masked: rotated right by 15 bits, plus 0xa282ead8.
std::string tf_record(std::string_view bytes);

/// Values of one step, as a Summary message of TensorBoard.
class Summary {
 public:
  Summary& scalar(std::string_view tag, double value);
  /// Markdown, as TensorBoard shows it.
  Summary& text(std::string_view tag, std::string_view markdown);
  /// In 30 buckets of equal width, or in one where all values are equal. What is not finite is left out.
  Summary& histogram(std::string_view tag, std::span<const float> values);

  bool empty() const { return message_.empty(); }
  const std::string& message() const { return message_; }

 private:
  std::string message_;
};

/// A file of events that TensorBoard reads, also while it is written: a record is in the system's hands when `append`
/// returns. Several in a folder are one after the other in the order of their names; each begins with what tells the
/// reader that a program has started at `first_step`, so that points of that step and later ones, which an earlier file
/// may have, are no longer shown. Errors: IoError with the path, in every function of this class.
class EventFile {
 public:
  /// Makes the folder, and a file in it whose name comes behind those that are there.
  EventFile(const std::filesystem::path& folder, int64_t first_step);

  void append(int64_t step, const Summary& summary);

 private:
  checkpoints_tools::FileWriter file_;
};

}  // namespace layalign::trainer
