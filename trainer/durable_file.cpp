#include "trainer/durable_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "checkpoints_tools/atomic_file.h"
#include "trainer/error.h"

namespace layalign::trainer {
namespace {

namespace fs = std::filesystem;

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

/// Puts a whole folder in its place, where an older one of that name may lie.
void replace_folder(const fs::path& temporary, const fs::path& target) {
  if (!fs::exists(target)) {
    fs::rename(temporary, target);
  } else if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) != 0) {
    // Network file systems cannot exchange two names at once: the old one is gone for the moment between two renames.
    fs::path old = target;
    old += ".old.tmp";
    fs::remove_all(old);
    fs::rename(target, old);
    fs::rename(temporary, target);
    sync_to_disk(fs::absolute(target).parent_path());
    fs::remove_all(old);
    return;
  }
  sync_to_disk(fs::absolute(target).parent_path());
  fs::remove_all(temporary);
}

}  // namespace

void write_folder_durably(const fs::path& target, const std::function<void(const fs::path& folder)>& write) {
  fs::path temporary = target;
  temporary += ".tmp";
  as_io_error([&] {
    fs::remove_all(temporary);
    try {
      fs::create_directories(temporary);
      write(temporary);
    } catch (...) {
      std::error_code ignored;  // the first failure is the one to tell
      fs::remove_all(temporary, ignored);
      throw;
    }
    replace_folder(temporary, target);
  });
}

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
