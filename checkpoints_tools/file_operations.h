#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

// The one layer that changes files which must survive a crash. Every operation is numbered, and a hook can make the
// process die before it, or make it fail: that is how "killed at any write point" and "disk full at any write" are
// tested. Errors: IoError with the path, the system's reason and what to do.
namespace layalign::checkpoints_tools {

/// What an operation does.
enum class FileAction {
  kRemove,
  kCreate,
  kOpen,
  kWrite,
  kAllocate,
  kFlush,
  kClose,
  kRename,
  kExchange,
  kFlushFolder,
  kMakeFolder,
  kRemoveFolder,
};

/// "remove", "create", "open", "write", "allocate", "flush", "close", "rename", "exchange", "flush folder", "make folder",
/// "remove folder".
std::string_view name_of(FileAction action);

/// One change of a file or a folder, about to be made.
struct FileOperation {
  int64_t number = 0;  ///< from 1, in this process since the hook was set
  FileAction action = FileAction::kWrite;
  std::filesystem::path path;          ///< of a file: as it was opened; of a rename: the new name
  int64_t bytes = 0;                   ///< of a write or an allocation
  int64_t offset = 0;                  ///< of a write
  std::span<const std::byte> content;  ///< of a write, as long as the hook runs
  std::filesystem::path other;         ///< of a rename: the old name; of an exchange: the other one
};

/// What happens to an operation instead of success.
struct FileFault {
  enum class Kind {
    kNone,
    kKill,         ///< the process dies before the operation, as by kill -9
    kKillHalfway,  ///< it dies after half of the bytes; an operation that writes none: before it
    kError,  ///< the operation is not made and fails with `error` (an exchange with EINVAL: as where none can be made)
    kShortWrite,  ///< the system takes half of the bytes at first, which is no error
  };
  Kind kind = Kind::kNone;
  int error = 0;  ///< errno
};

/// Asked before each operation, by the thread that makes it; one call at a time.
using FileHook = std::function<FileFault(const FileOperation&)>;

/// Sets the hook of the process (an empty function: none) and counts from 1 again. For tests. Files are a process-wide thing, and
/// so is this.
void set_file_hook(FileHook hook);

/// Operations since the hook was set.
int64_t file_operation_count();

/// Hooks: the process dies at operation `number`; that operation fails; it is a short write; all are noted, without
/// content, in `log`, which must outlive the hook.
FileHook kill_at(int64_t number, bool halfway = false);
FileHook fail_at(int64_t number, int error);
FileHook short_write_at(int64_t number);
FileHook record_into(std::vector<FileOperation>& log);

/// A file being written. Messages name `shown`: for a temporary file the path that it will have.
/// Threads: one at a time, but for `write_at` and `start_flush`, which many may call at once.
class FileWriter {
 public:
  /// Makes a new, empty file. One that is there is removed first (a link is not followed).
  static FileWriter create(const std::filesystem::path& path, const std::filesystem::path& shown);
  /// Opens a file that is there.
  static FileWriter open(const std::filesystem::path& path, const std::filesystem::path& shown);
  /// Opens a file, which is made where it is not there (its name is then durable); `write` goes on at its end.
  static FileWriter append(const std::filesystem::path& path);

  FileWriter(FileWriter&& other) noexcept;
  FileWriter& operator=(FileWriter&& other) noexcept;
  /// Closes the file; nothing is made durable.
  ~FileWriter();

  /// Writes all bytes behind those of the last `write`.
  void write(std::span<const std::byte> bytes);
  /// Writes all bytes at an offset.
  void write_at(int64_t offset, std::span<const std::byte> bytes);
  /// Reserves room on the disk for the first `bytes` bytes, so that no later write into them finds the disk full.
  void allocate(int64_t bytes);
  /// Lets the system begin to bring these bytes to the disk, so that `flush` has less to wait for. Promises nothing.
  void start_flush(int64_t offset, int64_t bytes) const;
  /// Waits until the content is on the disk.
  void flush();
  /// Closes the file: network file systems report lost writes here. Call it once, last.
  void close();

 private:
  FileWriter(int descriptor, std::filesystem::path path, std::filesystem::path shown);

  std::filesystem::path path_, shown_;
  int descriptor_ = -1;
  int64_t end_ = 0;  // of the last `write`
};

/// Gives a file or a folder its name; a file or an empty folder of that name is replaced.
void rename_file(const std::filesystem::path& from, const std::filesystem::path& to);
/// Exchanges the names of two files or folders in one step. False: this file system cannot.
bool exchange_names(const std::filesystem::path& one, const std::filesystem::path& other);
/// Makes a folder and those above it, and their names durable: what is made durable in a folder is lost with its name.
/// One that is there is no error.
void make_folder(const std::filesystem::path& path);
/// Removes a folder with all that is in it, or a file; what is not there is no error.
void remove_folder(const std::filesystem::path& path);
/// Waits until the names in the folder of `path` are on the disk.
void flush_folder_of(const std::filesystem::path& path);
/// Removes a file; one that is not there is no error.
void remove_file(const std::filesystem::path& path);

/// "N bytes needed, M free" of the file system that holds `path`, which need not exist.
std::string space_note(const std::filesystem::path& path, int64_t needed_bytes);

}  // namespace layalign::checkpoints_tools
