#include "data/activation_cache/lock_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace layalign::data {
namespace {

constexpr mode_t kReadAndWrite = 0666;

/// What the system refuses here does not matter to the lock.
void share_with_writers_of(const std::filesystem::path& folder, int descriptor) {
  struct stat file {}, around {};
  if (::fstat(descriptor, &file) != 0 || ::stat(folder.c_str(), &around) != 0 || file.st_uid != ::geteuid()) return;
  const mode_t mode = (file.st_mode | around.st_mode) & kReadAndWrite;
  if (mode != (file.st_mode & kReadAndWrite) && ::fchmod(descriptor, mode) != 0) return;
  if (file.st_uid == around.st_uid && file.st_gid == around.st_gid) return;
  const auto give_to = [&](uid_t owner) { return ::fchown(descriptor, owner, around.st_gid) == 0; };
  if (!give_to(around.st_uid)) give_to(file.st_uid);  // root alone gives files away
}

}  // namespace

int open_lock_file(const std::filesystem::path& path) {
  // O_CREAT only where it is missing: Linux may refuse it for another user's file in a sticky folder.
  int descriptor = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (descriptor < 0 && errno == ENOENT) descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, kReadAndWrite);
  if (descriptor >= 0) share_with_writers_of(path.parent_path(), descriptor);
  return descriptor;
}

}  // namespace layalign::data
