#include "checkpoints_tools/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "checkpoints_tools/error.h"

namespace layalign::checkpoints_tools {
namespace {

[[noreturn]] void reject_file(const std::filesystem::path& path, const std::string& what) {
  throw CheckpointError(path.string() + ": " + what);
}

[[noreturn]] void fail_errno(const std::filesystem::path& path, const char* action) {
  reject_file(path, std::string("cannot ") + action + ": " + std::generic_category().message(errno));
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace

MappedFile::MappedFile(std::filesystem::path path) : path_(std::move(path)) {
  // O_NONBLOCK: opening a FIFO without a writer would wait for ever; it has no effect on regular files.
  const Descriptor fd(::open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (fd.get() < 0) fail_errno(path_, "open it");
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) fail_errno(path_, "read its size");
  if (S_ISDIR(status.st_mode)) reject_file(path_, "is a folder, expected a file");
  if (!S_ISREG(status.st_mode)) reject_file(path_, "is not a regular file (a pipe or a device?); give a file on disk");
  if (status.st_size == 0) reject_file(path_, "is empty (0 bytes); copy it again");
  const auto size = static_cast<size_t>(status.st_size);
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (address == MAP_FAILED) fail_errno(path_, "map it into memory");
  bytes_ = {static_cast<const std::byte*>(address), size};
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace layalign::checkpoints_tools
