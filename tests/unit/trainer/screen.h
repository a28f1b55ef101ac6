#pragma once

#include <pty.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "trainer/log.h"

namespace layalign::trainer {

/// Where stdout goes while the object lives.
enum class Stdout { kPipe, kTerminal, kTerminalWithoutSize };

/// Sends this process's stdout into a pipe or a pseudo-terminal (100 columns), sets the log up anew for it, and
/// collects what is written. `text` ends the capture.
class CapturedStdout {
 public:
  static constexpr int kColumns = 100;

  explicit CapturedStdout(Stdout where) {
    int ends[2];
    winsize size{};
    size.ws_col = where == Stdout::kTerminal ? kColumns : 0;
    const int rc = where == Stdout::kPipe ? ::pipe(ends) : ::openpty(&ends[0], &ends[1], nullptr, nullptr, &size);
    if (rc != 0) throw std::runtime_error("no pipe or pseudo-terminal");
    std::fflush(stdout);
    saved_ = ::dup(STDOUT_FILENO);
    ::dup2(ends[1], STDOUT_FILENO);
    ::close(ends[1]);
    reader_ = std::thread([this, source = ends[0]] {
      char buffer[512];
      for (ssize_t size; (size = ::read(source, buffer, sizeof(buffer))) > 0;) text_.append(buffer, size);
      ::close(source);
    });
    set_up_log("", true);
  }
  CapturedStdout(const CapturedStdout&) = delete;
  CapturedStdout& operator=(const CapturedStdout&) = delete;
  ~CapturedStdout() { text(); }

  std::string text() {
    if (reader_.joinable()) {
      std::fflush(stdout);
      ::dup2(saved_, STDOUT_FILENO);  // closes the last writer, which ends the reader
      ::close(saved_);
      reader_.join();
      set_up_log("", true);
    }
    return text_;
  }

 private:
  int saved_ = -1;
  std::thread reader_;
  std::string text_;
};

/// What a terminal shows after `text`: lines, with carriage return, erase-to-the-end and colours obeyed.
inline std::vector<std::string> shown_lines(const std::string& text) {
  std::vector<std::string> lines(1);
  size_t column = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    std::string& line = lines.back();
    if (text[i] == '\r') {
      column = 0;
    } else if (text[i] == '\n') {
      lines.emplace_back();
      column = 0;
    } else if (text[i] == '\x1b') {
      const size_t end = text.find_first_of("mK", i);
      if (text[end] == 'K') line.resize(column);
      i = end;
    } else {
      line.resize(std::max(line.size(), column + 1), ' ');
      line[column++] = text[i];
    }
  }
  return lines;
}

}  // namespace layalign::trainer
