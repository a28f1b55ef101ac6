#include "launch/line_source.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <iostream>
#include <utility>

#include "data/error.h"
#include "data/text_file.h"
#include "data/utf8.h"
#include "trainer/error.h"
#include "trainer/log.h"

namespace layalign::launch {
namespace {

/// So much is taken at once of a pipe that never runs dry.
constexpr size_t kMostPending_bytes = 1 << 16;

/// mpirun hands its own standard input on through a pipe: then that of the parent process decides.
bool stdin_is_terminal(bool under_mpi) {
  if (::isatty(STDIN_FILENO)) return true;
  if (!under_mpi) return false;
  const std::string path = "/proc/" + std::to_string(::getppid()) + "/fd/0";
  const int parent = ::open(path.c_str(), O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  if (parent < 0) return false;
  const bool terminal = ::isatty(parent);
  ::close(parent);
  return terminal;
}

/// Whether a read of standard input would return at once.
bool is_waiting() {
  pollfd stdin_events{STDIN_FILENO, POLLIN, 0};
  return ::poll(&stdin_events, 1, 0) > 0;
}

/// Appends what a read of standard input gives; false at its end.
bool read_more(std::string& bytes) {
  std::array<char, 4096> buffer;
  ssize_t size = 0;
  do size = ::read(STDIN_FILENO, buffer.data(), buffer.size());
  while (size < 0 && errno == EINTR);
  if (size < 0) throw trainer::IoError(std::string("standard input: cannot read: ") + std::strerror(errno));
  bytes.append(buffer.data(), static_cast<size_t>(size));
  return size > 0;
}

/// Shows a person something that is no answer. Where the answers are on the terminal too it goes the same way as they,
/// since mpirun does not keep the order of two streams; else it stays out of the answers' file.
void tell(const std::string& text) { (trainer::stdout_is_terminal() ? std::cout : std::cerr) << text << std::flush; }

}  // namespace

LineSource::LineSource(const std::string& input, bool under_mpi) {
  if (input.empty()) {
    terminal_ = stdin_is_terminal(under_mpi);
    return;
  }
  data::for_each_line(input, [&](std::string_view line, int64_t) { return file_.emplace_back(line), true; });
  at_end_ = true;
}

std::vector<std::string> LineSource::next() {
  if (!file_.empty()) return std::exchange(file_, {});
  if (terminal_ && !at_end_ && pending_.empty()) tell("> ");
  while (!at_end_ && (pending_.find('\n') == pending_.npos || (pending_.size() < kMostPending_bytes && is_waiting()))) {
    at_end_ = !read_more(pending_);
  }
  if (at_end_ && !pending_.empty() && !pending_.ends_with('\n')) pending_ += '\n';
  if (terminal_ && at_end_ && pending_.empty()) tell("\n");
  return take_lines();
}

std::vector<std::string> LineSource::take_lines() {
  std::vector<std::string> lines;
  size_t begin = 0;
  for (size_t end; (end = pending_.find('\n', begin)) != pending_.npos; begin = end + 1) {
    std::string line = pending_.substr(begin, end - begin);
    if (line.ends_with('\r')) line.pop_back();
    if (data::first_invalid_utf8(line)) {
      if (!lines.empty()) break;  // they are answered first
      throw data::DataError("standard input:" + std::to_string(taken_ + 1) + ": not UTF-8; convert the text (iconv)");
    }
    lines.push_back(std::move(line));
    ++taken_;
  }
  pending_.erase(0, begin);
  return lines;
}

}  // namespace layalign::launch
