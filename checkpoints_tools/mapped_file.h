#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace layalign::checkpoints_tools {

/// A whole regular file, mapped read-only.
///
/// A file that another process shortens while it is mapped raises SIGBUS at the missing pages; no check made at opening
/// can prevent that. Replace files by rename, as `write_safetensors` does: a mapped file then keeps its old content.
class MappedFile {
 public:
  /// Errors: `CheckpointError` where the file is missing, unreadable, empty, or not a regular file (a FIFO is refused
  /// at once, not waited for).
  explicit MappedFile(std::filesystem::path path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  const std::filesystem::path& path() const { return path_; }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
};

}  // namespace layalign::checkpoints_tools
