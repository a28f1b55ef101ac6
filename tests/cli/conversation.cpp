#include "tests/cli/conversation.h"

#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <stdexcept>

namespace layalign::test {
namespace {

constexpr double kPatience_s = 120;  // for a loaded machine; a program that answers needs a few seconds

[[noreturn]] void become(const std::string& command) {
  execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
  _exit(127);
}

}  // namespace

Conversation::Conversation(Through through, int ranks, const std::string& arguments)
    : terminal_(through == Through::kTerminal) {
  const std::string command = "exec 2>&1; " + program_command("layalign-eval", ranks, arguments);
  if (terminal_) {
    winsize size{};
    size.ws_col = 100;
    child_ = forkpty(&to_, nullptr, nullptr, &size);
    if (child_ == 0) become(command);
    from_ = to_;
  } else {
    int input[2], output[2];
    if (pipe(input) != 0 || pipe(output) != 0) throw std::runtime_error("no pipe");
    child_ = fork();
    if (child_ == 0) {
      dup2(input[0], STDIN_FILENO);
      dup2(output[1], STDOUT_FILENO);
      for (int end : {input[0], input[1], output[0], output[1]}) close(end);
      become(command);
    }
    close(input[0]);
    close(output[1]);
    to_ = input[1];
    from_ = output[0];
  }
  if (child_ < 0) throw std::runtime_error("no process");
}

Conversation::~Conversation() {
  if (child_ <= 0) return;
  kill(child_, SIGKILL);
  waitpid(child_, nullptr, 0);
}

void Conversation::say(const std::string& text) const {
  if (write(to_, text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    throw std::runtime_error("cannot write");
}

bool Conversation::read_more(double patience_s) {
  pollfd events{from_, POLLIN, 0};
  if (poll(&events, 1, static_cast<int>(1000 * patience_s)) <= 0) throw std::runtime_error("only this came: " + heard_);
  std::array<char, 4096> buffer;
  const ssize_t size = read(from_, buffer.data(), buffer.size());  // a terminal that nobody holds any more is an error
  if (size > 0) heard_.append(buffer.data(), static_cast<size_t>(size));
  return size > 0;
}

std::string Conversation::hear(const std::string& end) {
  size_t at = 0;
  while ((at = heard_.find(end)) == heard_.npos) {
    if (!read_more(kPatience_s)) throw std::runtime_error("it ended after: " + heard_);
  }
  const std::string text = heard_.substr(0, at + end.size());
  heard_.erase(0, at + end.size());
  return text;
}

Outcome Conversation::finish() {
  if (terminal_)
    say("\x04");
  else
    close(to_);
  while (read_more(kPatience_s)) {
  }
  int status = 0;
  waitpid(child_, &status, 0);
  child_ = -1;
  close(from_);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), heard_};
}

}  // namespace layalign::test
