#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string_view>

#include "checkpoints_tools/file_operations.h"

namespace layalign::checkpoints_tools {

/// Writes a file so that, whatever happens, `path` holds either its old content or the whole new one.
///
/// The bytes go to `<path>.tmp` in the same folder; `commit` makes them durable and renames. Without `commit` (an
/// exception, say) the temporary file is removed; one that a killed process left is replaced by the next writer.
/// Threads: one writer at a time for a path.
/// Errors: `CheckpointError` with the path and the system's reason (full disk, no permission, input/output error).
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);

  /// Flushes the file to the disk, renames it, flushes the folder. Call it once, last.
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  std::optional<FileWriter> file_;
  bool pending_ = false;  // the temporary file exists
};

}  // namespace layalign::checkpoints_tools
