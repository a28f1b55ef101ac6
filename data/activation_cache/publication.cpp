#include "data/activation_cache/publication.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "data/activation_cache/lock_file.h"

namespace layalign::data {
namespace {

// A file, because network file systems lock those, and folders on one node only.
constexpr const char* kFile = ".publication";

}  // namespace

Publication::Publication(const std::filesystem::path& folder, Purpose purpose) {
  const auto path = folder / kFile;
  const bool writes = purpose == Purpose::kGiveName;
  descriptor_ = writes ? open_lock_file(path) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  // Made by another user it can only be read; on a local disk that is enough to lock it.
  if (descriptor_ < 0 && errno == EACCES) descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  while (descriptor_ >= 0 && ::flock(descriptor_, writes ? LOCK_EX : LOCK_SH) != 0 && errno == EINTR) {
  }
}

Publication::~Publication() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace layalign::data
