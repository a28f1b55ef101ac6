#include "launch/file_fault.h"

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <string>

#include "checkpoints_tools/file_operations.h"
#include "configs/error.h"

namespace layalign::launch {
namespace {

using checkpoints_tools::FileHook;

constexpr const char* kVariable = "LAYALIGN_FILE_FAULT";

FileHook hook_of(const std::string& kind, int64_t number) {
  if (kind == "kill") return checkpoints_tools::kill_at(number);
  if (kind == "half") return checkpoints_tools::kill_at(number, /*halfway=*/true);
  if (kind == "short") return checkpoints_tools::short_write_at(number);
  if (kind == "ENOSPC") return checkpoints_tools::fail_at(number, ENOSPC);
  if (kind == "EIO") return checkpoints_tools::fail_at(number, EIO);
  return {};
}

}  // namespace

void inject_file_fault() {
  const char* const given = std::getenv(kVariable);
  if (given == nullptr) return;
  const std::string text = given;
  const size_t colon = std::min(text.find(':'), text.size());
  int64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto read = std::from_chars(std::min(text.data() + colon + 1, end), end, number);
  FileHook hook = hook_of(text.substr(0, colon), number);
  if (!hook || read.ec != std::errc() || read.ptr != end || number < 1) {
    throw configs::ConfigError(std::string(kVariable) + "=" + text +
                               ": expected kill:N, half:N, short:N, ENOSPC:N or EIO:N, with N from 1; it is for tests alone");
  }
  checkpoints_tools::set_file_hook(std::move(hook));
}

}  // namespace layalign::launch
