#include "checkpoints_tools/file_operations.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <mutex>
#include <system_error>
#include <utility>

#include "checkpoints_tools/error.h"

namespace layalign::checkpoints_tools {
namespace {

namespace fs = std::filesystem;

/// The hook and the count: of the process, as its files are.
struct Hook {
  std::mutex mutex;
  FileHook function;
  int64_t count = 0;
};

Hook& hook() {
  static Hook of_the_process;
  return of_the_process;
}

[[noreturn]] void die() {
  ::kill(::getpid(), SIGKILL);
  for (;;) ::pause();
}

[[noreturn]] void fail(const fs::path& path, std::string_view what, int error, int64_t bytes = 0) {
  std::string message = path.string() + ": cannot " + std::string(what) + ": " + std::generic_category().message(error);
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  if (full && bytes > 0) message += " (" + space_note(path, bytes) + ")";
  if (full) {
    message += "; free some space or write elsewhere";
  } else if (error == EIO) {
    message += "; check the disk";
  } else {
    message += "; check the folder and its permissions";
  }
  throw IoError(message);
}

/// Numbers the operation and asks the hook. Returns what the caller has to heed: an error, half of a write.
FileFault ask(FileOperation operation) {
  FileFault fault;
  {
    const std::lock_guard lock(hook().mutex);
    operation.number = ++hook().count;
    if (!hook().function) return {};
    fault = hook().function(operation);
  }
  const bool writes = operation.action == FileAction::kWrite;
  if (fault.kind == FileFault::Kind::kKill || (fault.kind == FileFault::Kind::kKillHalfway && !writes)) die();
  return fault;
}

/// The same; an injected error is thrown here.
FileFault begin(const FileOperation& operation, const fs::path& shown, std::string_view what) {
  const FileFault fault = ask(operation);
  if (fault.kind == FileFault::Kind::kError) fail(shown, what, fault.error, operation.bytes);
  return fault;
}

/// Repeats a call that a signal interrupted.
template <typename Call>
auto uninterrupted(Call call) {
  for (;;) {
    const auto result = call();
    if (result >= 0 || errno != EINTR) return result;
  }
}

fs::path folder_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

void unlink_if_there(const fs::path& path, const fs::path& shown, std::string_view what) {
  begin({.action = FileAction::kRemove, .path = path}, shown, what);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) fail(shown, what, errno);
}

FileHook at(int64_t number, FileFault fault) {
  return [=](const FileOperation& operation) { return operation.number == number ? fault : FileFault{}; };
}

}  // namespace

std::string_view name_of(FileAction action) {
  constexpr std::string_view kNames[] = {"remove", "create", "open",     "write",        "allocate",    "flush",
                                         "close",  "rename", "exchange", "flush folder", "make folder", "remove folder"};
  return kNames[static_cast<size_t>(action)];
}

void set_file_hook(FileHook function) {
  const std::lock_guard lock(hook().mutex);
  hook().function = std::move(function);
  hook().count = 0;
}

int64_t file_operation_count() {
  const std::lock_guard lock(hook().mutex);
  return hook().count;
}

FileHook kill_at(int64_t number, bool halfway) {
  return at(number, {halfway ? FileFault::Kind::kKillHalfway : FileFault::Kind::kKill});
}

FileHook fail_at(int64_t number, int error) { return at(number, {FileFault::Kind::kError, error}); }

FileHook short_write_at(int64_t number) { return at(number, {FileFault::Kind::kShortWrite}); }

FileHook record_into(std::vector<FileOperation>& log) {
  return [&log](const FileOperation& operation) {
    log.push_back(operation);
    log.back().content = {};
    return FileFault{};
  };
}

FileWriter::FileWriter(int descriptor, fs::path path, fs::path shown)
    : path_(std::move(path)), shown_(std::move(shown)), descriptor_(descriptor) {}

FileWriter FileWriter::create(const fs::path& path, const fs::path& shown) {
  unlink_if_there(path, shown, "remove the old temporary file");
  constexpr std::string_view kWhat = "create it";
  begin({.action = FileAction::kCreate, .path = path}, shown, kWhat);
  const int descriptor =
      uninterrupted([&] { return ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666); });
  if (descriptor < 0) fail(shown, kWhat, errno, 1);
  return {descriptor, path, shown};
}

FileWriter FileWriter::open(const fs::path& path, const fs::path& shown) {
  constexpr std::string_view kWhat = "open it for writing";
  begin({.action = FileAction::kOpen, .path = path}, shown, kWhat);
  const int descriptor = uninterrupted([&] { return ::open(path.c_str(), O_WRONLY | O_CLOEXEC); });
  if (descriptor < 0) fail(shown, kWhat, errno);
  return {descriptor, path, shown};
}

FileWriter FileWriter::append(const fs::path& path) {
  constexpr std::string_view kWhat = "open it for writing";
  std::error_code unknown;
  const bool is_new = !fs::exists(path, unknown);
  begin({.action = FileAction::kOpen, .path = path}, path, kWhat);
  const int descriptor = uninterrupted([&] { return ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666); });
  if (descriptor < 0) fail(path, kWhat, errno, 1);
  FileWriter file{descriptor, path, path};
  file.end_ = ::lseek(descriptor, 0, SEEK_END);
  if (file.end_ < 0) fail(path, kWhat, errno);
  if (is_new) flush_folder_of(path);
  return file;
}

FileWriter::FileWriter(FileWriter&& other) noexcept
    : path_(std::move(other.path_)),
      shown_(std::move(other.shown_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      end_(other.end_) {}

FileWriter& FileWriter::operator=(FileWriter&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(shown_, other.shown_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(end_, other.end_);
  return *this;
}

FileWriter::~FileWriter() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void FileWriter::write(std::span<const std::byte> bytes) {
  write_at(end_, bytes);
  end_ += static_cast<int64_t>(bytes.size());
}

void FileWriter::write_at(int64_t offset, std::span<const std::byte> bytes) {
  constexpr std::string_view kWhat = "write it";
  const FileOperation operation{.action = FileAction::kWrite,
                                .path = path_,
                                .bytes = static_cast<int64_t>(bytes.size()),
                                .offset = offset,
                                .content = bytes};
  FileFault fault = begin(operation, shown_, kWhat);
  while (!bytes.empty()) {
    // A write may take less than it was given (a nearly full disk, 2 GiB at most): the next one tells why.
    const size_t part = fault.kind == FileFault::Kind::kNone ? bytes.size() : std::max<size_t>(bytes.size() / 2, 1);
    const ssize_t written = uninterrupted([&] { return ::pwrite(descriptor_, bytes.data(), part, offset); });
    if (written <= 0) fail(shown_, kWhat, written == 0 ? EIO : errno, static_cast<int64_t>(bytes.size()));
    if (fault.kind == FileFault::Kind::kKillHalfway) die();
    fault.kind = FileFault::Kind::kNone;
    offset += written;
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void FileWriter::allocate(int64_t bytes) {
  constexpr std::string_view kWhat = "reserve room for it";
  begin({.action = FileAction::kAllocate, .path = path_, .bytes = bytes}, shown_, kWhat);
  int error = EINTR;
  while (error == EINTR) error = ::posix_fallocate(descriptor_, 0, bytes);
  if (error != 0) fail(shown_, kWhat, error, bytes);
}

void FileWriter::start_flush(int64_t offset, int64_t bytes) const {
  ::sync_file_range(descriptor_, offset, bytes, SYNC_FILE_RANGE_WRITE);  // an error is met by flush
}

void FileWriter::flush() {
  constexpr std::string_view kWhat = "flush it to the disk";
  begin({.action = FileAction::kFlush, .path = path_}, shown_, kWhat);
  // Never tried again after an error: the system has dropped the pages that it could not write.
  if (uninterrupted([&] { return ::fsync(descriptor_); }) != 0) fail(shown_, kWhat, errno, 1);
}

void FileWriter::close() {
  constexpr std::string_view kWhat = "close it";
  begin({.action = FileAction::kClose, .path = path_}, shown_, kWhat);
  // The descriptor is gone even where this fails.
  if (::close(std::exchange(descriptor_, -1)) != 0 && errno != EINTR) fail(shown_, kWhat, errno, 1);
}

void rename_file(const fs::path& from, const fs::path& to) {
  constexpr std::string_view kWhat = "rename its temporary file";
  begin({.action = FileAction::kRename, .path = to, .other = from}, to, kWhat);
  if (::rename(from.c_str(), to.c_str()) != 0) fail(to, kWhat, errno, 1);
}

bool exchange_names(const fs::path& one, const fs::path& other) {
  constexpr std::string_view kWhat = "exchange it with the new one";
  const FileFault fault = ask({.action = FileAction::kExchange, .path = other, .other = one});
  int error = fault.error;
  if (fault.kind != FileFault::Kind::kError) {
    error = ::renameat2(AT_FDCWD, one.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE) == 0 ? 0 : errno;
  }
  if (error == 0) return true;
  if (error == EINVAL || error == ENOSYS || error == EOPNOTSUPP) return false;
  fail(other, kWhat, error, 1);
}

void make_folder(const fs::path& path) {
  std::error_code unknown;
  if (fs::is_directory(path, unknown)) return;
  if (!path.has_filename()) return make_folder(path.parent_path());  // "a/b/"
  if (!fs::exists(folder_of(path), unknown)) make_folder(folder_of(path));
  constexpr std::string_view kWhat = "make the folder";
  begin({.action = FileAction::kMakeFolder, .path = path}, path, kWhat);
  const int error = ::mkdir(path.c_str(), 0777) == 0 ? 0 : errno;
  const bool is_there = error == EEXIST && fs::is_directory(path, unknown);  // another process was faster
  if (error != 0 && !is_there) fail(path, kWhat, error, 1);
  flush_folder_of(path);
}

void remove_folder(const fs::path& path) {
  if (!fs::is_directory(fs::symlink_status(path))) return remove_file(path);
  std::vector<fs::path> entries;
  for (const auto& entry : fs::directory_iterator(path)) entries.push_back(entry.path());
  for (const fs::path& entry : entries) remove_folder(entry);
  constexpr std::string_view kWhat = "remove the folder";
  begin({.action = FileAction::kRemoveFolder, .path = path}, path, kWhat);
  if (::rmdir(path.c_str()) != 0 && errno != ENOENT) fail(path, kWhat, errno);
}

void flush_folder_of(const fs::path& path) {
  constexpr std::string_view kWhat = "flush its folder to the disk";
  begin({.action = FileAction::kFlushFolder, .path = folder_of(path)}, path, kWhat);
  const int descriptor =
      uninterrupted([&] { return ::open(folder_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
  if (descriptor < 0) fail(path, "open its folder to flush it", errno);
  // EINVAL: a file system that cannot flush folders, where there is nothing more to do.
  const int error = uninterrupted([&] { return ::fsync(descriptor); }) == 0 || errno == EINVAL ? 0 : errno;
  ::close(descriptor);
  if (error != 0) fail(path, kWhat, error, 1);
}

void remove_file(const fs::path& path) { unlink_if_there(path, path, "remove it"); }

std::string space_note(const fs::path& path, int64_t needed_bytes) {
  struct statvfs status {};
  std::string note = std::to_string(needed_bytes) + " bytes needed";
  if (::statvfs(folder_of(path).c_str(), &status) != 0) return note;
  return note + ", " + std::to_string(static_cast<uint64_t>(status.f_bavail) * status.f_frsize) + " free";
}

}  // namespace layalign::checkpoints_tools
