#include "checkpoints_tools/file_lock.h"

#include <sys/file.h>

#include <cerrno>
#include <system_error>

#include "checkpoints_tools/error.h"

namespace layalign::checkpoints_tools {

FileLock lock_file(int descriptor, const std::filesystem::path& path) {
  if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) return FileLock::kHeld;
  switch (const int reason = errno) {
    case EWOULDBLOCK: return FileLock::kTaken;
    case ENOSYS:
    case ENOLCK:
    case EOPNOTSUPP: return FileLock::kMissing;
    default: throw IoError(path.string() + ": cannot lock: " + std::generic_category().message(reason));
  }
}

std::string missing_lock_note(const std::filesystem::path& path) {
  return path.string() + ": this file system has no file locks, so nothing keeps a second program from writing there at the same "
                         "time; see to it that only one is started";
}

}  // namespace layalign::checkpoints_tools
