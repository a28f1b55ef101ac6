#include "checkpoints_tools/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "checkpoints_tools/error.h"

namespace layalign::checkpoints_tools {

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)), temporary_(path_.string() + ".tmp") {
  if (::unlink(temporary_.c_str()) != 0 && errno != ENOENT) fail("remove the old temporary file");
  fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd_ < 0) fail("create it");
  pending_ = true;
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (pending_) ::unlink(temporary_.c_str());
}

void AtomicFile::fail(const char* action) const {
  const int error = errno;
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  throw CheckpointError(path_.string() + ": cannot " + action + ": " + std::generic_category().message(error) +
                        (full ? "; free some space or write elsewhere" : "; check the folder and its permissions"));
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    // A write may take less than it was given (a nearly full disk, 2 GiB at most): the next one tells why.
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written == 0) errno = EIO;
    if (written <= 0) fail("write it");
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void AtomicFile::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void AtomicFile::commit() {
  if (::fsync(fd_) != 0) fail("flush it to the disk");
  // Network file systems report a lost write here; the descriptor is gone even then.
  if (::close(std::exchange(fd_, -1)) != 0) fail("close it");
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail("rename its temporary file");
  pending_ = false;

  const std::filesystem::path folder = path_.has_parent_path() ? path_.parent_path() : ".";
  const int folder_fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder_fd < 0) fail("open its folder to flush it");
  // EINVAL: a file system that cannot flush folders, where there is nothing more to do.
  const bool flushed = ::fsync(folder_fd) == 0 || errno == EINVAL;
  const int error = errno;
  ::close(folder_fd);
  errno = error;
  if (!flushed) fail("flush its folder to the disk");
}

}  // namespace layalign::checkpoints_tools
