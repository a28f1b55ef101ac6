#include "trainer/durable_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "checkpoints_tools/atomic_file.h"
#include "checkpoints_tools/file_operations.h"
#include "trainer/error.h"

namespace layalign::trainer {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kReplaced = ".old.tmp";

[[noreturn]] void fail(const char* what, const std::filesystem::path& path) {
  const std::string reason = std::strerror(errno);
  throw IoError(path.string() + ": cannot " + what + ": " + reason +
                (errno == ENOSPC || errno == EDQUOT ? "; free some space and start the same command again" : ""));
}

/// Gives a whole folder its name, where an older one of that name may lie. Returns where the older one is then.
fs::path take_name(const fs::path& temporary, const fs::path& target) {
  using namespace checkpoints_tools;
  if (!fs::exists(target)) {
    rename_file(temporary, target);
    return temporary;
  }
  if (exchange_names(temporary, target)) return temporary;
  // Network file systems cannot exchange two names at once: the old one is gone for the moment between two renames.
  fs::path old = target;
  old += kReplaced;
  remove_folder(old);
  rename_file(target, old);
  rename_file(temporary, target);
  return old;
}

}  // namespace

fs::path name_of_replaced(const fs::path& path) {
  const std::string name = path.string();
  return name.ends_with(kReplaced) ? fs::path(name.substr(0, name.size() - kReplaced.size())) : path;
}

void write_folder_durably(const fs::path& target, const std::function<void(const fs::path& folder)>& write) {
  fs::path temporary = target;
  temporary += ".tmp";
  as_io_error([&] {
    checkpoints_tools::remove_folder(temporary);
    fs::path older;
    try {
      checkpoints_tools::make_folder(temporary);
      write(temporary);
      older = take_name(temporary, target);
    } catch (...) {
      std::error_code ignored;  // the first failure is the one to tell
      fs::remove_all(temporary, ignored);
      throw;
    }
    checkpoints_tools::flush_folder_of(target);
    checkpoints_tools::remove_folder(older);
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

}  // namespace layalign::trainer
