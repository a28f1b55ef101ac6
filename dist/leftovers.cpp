#include "dist/leftovers.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <fstream>
#include <optional>
#include <string_view>
#include <vector>

namespace layalign::dist {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code ignored;
  for (fs::directory_iterator entry(folder, ignored), end; !ignored && entry != end; entry.increment(ignored)) {
    entries.push_back(entry->path());
  }
  return entries;
}

bool is_own(const fs::path& path) {
  struct stat found {};
  return ::lstat(path.c_str(), &found) == 0 && found.st_uid == ::geteuid();
}

std::optional<int64_t> number_in(std::string_view text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() && number > 0 ? std::optional(number) : std::nullopt;
}

/// Whether it is "pid.N" and no process N lives.
bool is_of_dead_process(const fs::path& session) {
  const std::string name = session.filename();
  if (!name.starts_with("pid.")) return false;
  const auto process = number_in(std::string_view(name).substr(4));
  return process && ::kill(static_cast<pid_t>(*process), 0) != 0 && errno == ESRCH;
}

/// What the names of the job's segments hold: "JOB", hexadecimal. contact.txt begins with mpirun's own number,
/// "N.0;tcp:", and its job is the next.
std::string job_of(const fs::path& session) {
  std::string line;
  std::getline(std::ifstream(session / "contact.txt"), line, '.');
  const auto daemon = number_in(line);
  if (!daemon) return "";
  std::array<char, 16> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), *daemon + 1, 16).ptr;
  return {digits.data(), end};
}

}  // namespace

Leftovers sweep_dead_jobs(const fs::path& temporary, const fs::path& shared, const std::string& host) {
  Leftovers swept;
  const std::string owner = host.substr(0, host.find('.')) + "." + std::to_string(::geteuid());
  for (const fs::path& session : entries_of(temporary / ("ompi." + owner))) {
    if (!is_own(session) || !is_of_dead_process(session)) continue;
    if (const std::string job = job_of(session); !job.empty()) {
      const std::string prefix = "vader_segment." + owner + "." + job + ".";
      for (const fs::path& segment : entries_of(shared)) {
        if (!segment.filename().string().starts_with(prefix) || !is_own(segment)) continue;
        std::error_code ignored;
        const auto bytes = fs::file_size(segment, ignored);
        if (!ignored && fs::remove(segment, ignored)) {
          ++swept.files;
          swept.bytes += static_cast<int64_t>(bytes);
        }
      }
    }
    std::error_code ignored;
    if (fs::remove_all(session, ignored) > 0 && !ignored) ++swept.jobs;
  }
  return swept;
}

}  // namespace layalign::dist
