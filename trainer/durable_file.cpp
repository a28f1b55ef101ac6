#include "trainer/durable_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "checkpoints_tools/atomic_file.h"
#include "trainer/error.h"

namespace layalign::trainer {
namespace {

[[noreturn]] void fail(const char* what, const std::filesystem::path& path) {
  const std::string reason = std::strerror(errno);
  throw IoError(path.string() + ": cannot " + what + ": " + reason +
                (errno == ENOSPC || errno == EDQUOT ? "; free some space and start the same command again" : ""));
}

/// Closes the descriptor when the scope ends.
struct Descriptor {
  int number;
  ~Descriptor() {
    if (number >= 0) ::close(number);
  }
};

}  // namespace

void write_all(int descriptor, std::string_view text, const std::filesystem::path& path) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("write", path);
    text.remove_prefix(static_cast<size_t>(written));
  }
}

void write_file_durably(const std::filesystem::path& path, std::string_view text) {
  as_io_error([&] {
    checkpoints_tools::AtomicFile file(path);
    file.write(text);
    file.commit();
  });
}

void sync_to_disk(const std::filesystem::path& path) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.number < 0) fail("open", path);
  if (::fsync(file.number) != 0) fail("write to the disk", path);
}

}  // namespace layalign::trainer
