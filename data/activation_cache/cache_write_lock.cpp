#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>
#include <system_error>

#include "checkpoints_tools/error.h"
#include "checkpoints_tools/file_lock.h"
#include "checkpoints_tools/file_operations.h"
#include "data/activation_cache/activation_cache.h"
#include "data/activation_cache/folder_lock.h"
#include "data/activation_cache/lock_file.h"
#include "data/error.h"

namespace layalign::data {
namespace {

namespace fs = std::filesystem;

std::string this_process() {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  return "process " + std::to_string(::getpid()) + " on " + host.data();
}

/// The lock file cannot be opened for writing.
[[noreturn]] void refuse_lock(const fs::path& path, int error) {
  std::string message = path.string() + ": cannot be opened for writing: " + std::generic_category().message(error);
  struct stat file {};
  const bool is_of_another = ::stat(path.c_str(), &file) == 0 && file.st_uid != ::geteuid();
  if (is_of_another && ::access(path.parent_path().c_str(), W_OK) == 0) {
    message += "; it belongs to user " + std::to_string(file.st_uid) +
               ", who can let others write this cache (chmod a+rw " + path.string() + "); or give another cache.path";
  } else {
    message += "; who builds a cache or adds to it must be allowed to write into its folder: give another cache.path, or train "
               "with cache.mode: read";
  }
  throw checkpoints_tools::IoError(message);
}

}  // namespace

FolderLock lock_folder(const fs::path& folder) {
  checkpoints_tools::make_folder(folder);
  const fs::path path = folder / ".lock";
  FolderLock lock;
  lock.descriptor = open_lock_file(path);
  if (lock.descriptor < 0) refuse_lock(path, errno);
  const std::string me = this_process();
  auto got = checkpoints_tools::FileLock::kTaken;
  try {
    got = checkpoints_tools::lock_file(lock.descriptor, path);
  } catch (...) {
    ::close(lock.descriptor);
    throw;
  }
  if (got != checkpoints_tools::FileLock::kTaken) {
    lock.missing = got == checkpoints_tools::FileLock::kMissing;
    // For the messages of others; that it cannot be written does not matter to the lock.
    if (::ftruncate(lock.descriptor, 0) == 0 && ::pwrite(lock.descriptor, me.data(), me.size(), 0) < 0) errno = 0;
    return lock;
  }
  std::array<char, 512> text{};
  if (::pread(lock.descriptor, text.data(), text.size() - 1, 0) > 0) lock.holder = text.data();
  ::close(lock.descriptor);
  lock.descriptor = -1;
  if (lock.holder.empty()) lock.holder = "another process";
  lock.ours = lock.holder == me;
  return lock;
}

CacheWriteLock::CacheWriteLock(const fs::path& folder) {
  const FolderLock lock = lock_folder(folder);
  if (lock.descriptor < 0) {
    throw DataError(folder.string() + ": this activation cache is being written by " + lock.holder +
                    "; wait for its end, or give another cache.path");
  }
  descriptor_ = lock.descriptor;
  if (lock.missing) warning_ = checkpoints_tools::missing_lock_note(folder);
}

CacheWriteLock::~CacheWriteLock() { ::close(descriptor_); }

}  // namespace layalign::data
