// spdlog is seen by this file alone: its headers want another fmt than the one that LibTorch ships.
#include "trainer/log.h"

#include <fcntl.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <mutex>

namespace layalign::trainer {
namespace {

constexpr int kDefaultWidth = 80;

/// Columns of the terminal behind a descriptor: 0 for a terminal that has no size, -1 where it is no terminal.
int columns_of(int descriptor) {
  if (!::isatty(descriptor)) return -1;
  winsize size{};
  return ::ioctl(descriptor, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

/// Columns of the terminal that shows stdout, or -1.
int shown_columns() {
  const int own = columns_of(STDOUT_FILENO);
  if (own != 0) return own;
  const std::string path = "/proc/" + std::to_string(::getppid()) + "/fd/1";
  const int parent = ::open(path.c_str(), O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  if (parent < 0) return -1;
  const int columns = columns_of(parent);
  ::close(parent);
  return columns > 0 ? columns : -1;
}

/// A literal text inside an spdlog pattern.
std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) result += c == '%' ? std::string("%%") : std::string(1, c);
  return result;
}

class Console {
 public:
  Console() { configure("", true); }

  void configure(const std::string& rank_tag, bool is_first_rank) {
    const std::lock_guard lock(mutex_);
    const auto colours = [](bool on) { return on ? spdlog::color_mode::automatic : spdlog::color_mode::never; };
    const std::string tag = rank_tag.empty() ? "" : "[" + escaped(rank_tag) + "] ";
    const std::string pattern = "[%Y-%m-%d %H:%M:%S] " + tag + "[%^%l%$] %v";
    out_ = std::make_unique<spdlog::logger>(
        "out", std::make_shared<spdlog::sinks::stdout_color_sink_mt>(colours(shown_columns() > 0)));
    err_ = std::make_unique<spdlog::logger>(
        "err", std::make_shared<spdlog::sinks::stderr_color_sink_mt>(colours(columns_of(STDERR_FILENO) > 0)));
    out_->set_pattern(pattern);
    err_->set_pattern(pattern);
    out_->set_level(is_first_rank ? spdlog::level::info : spdlog::level::off);
  }

  void line(spdlog::level::level_enum level, const std::string& message) {
    const std::lock_guard lock(mutex_);
    if (level == spdlog::level::info && !out_->should_log(level)) return;
    erase_status();
    (level == spdlog::level::info ? *out_ : *err_).log(level, message);
    draw_status();
  }

  void set_status(const std::string& text) {
    const std::lock_guard lock(mutex_);
    erase_status();
    status_ = text;
    draw_status();
  }

 private:
  void erase_status() {
    if (status_.empty()) return;
    std::fputs("\r\x1b[K", stdout);
    std::fflush(stdout);
  }

  void draw_status() {
    if (status_.empty()) return;
    // The last column stays free: a terminal wraps when it is filled.
    const int columns = shown_columns();
    const size_t room = static_cast<size_t>(columns > 0 ? columns : kDefaultWidth) - 1;
    std::fputs(status_.substr(0, room).c_str(), stdout);
    std::fflush(stdout);
  }

  std::mutex mutex_;
  std::unique_ptr<spdlog::logger> out_, err_;
  std::string status_;
};

Console& console() {
  static Console instance;
  return instance;
}

}  // namespace

std::string make_rank_tag(int world_rank, int world_size, int tp_rank, int dp_rank) {
  if (world_size == 1) return "";
  char tag[64];
  std::snprintf(tag, sizeof(tag), "rank %02d/%02d tp%d dp%d", world_rank, world_size, tp_rank, dp_rank);
  return tag;
}

void set_up_log(const std::string& rank_tag, bool is_first_rank) { console().configure(rank_tag, is_first_rank); }

void log_info(const std::string& message) { console().line(spdlog::level::info, message); }
void log_warn(const std::string& message) { console().line(spdlog::level::warn, message); }
void log_error(const std::string& message) { console().line(spdlog::level::err, message); }

bool stdout_is_terminal() { return shown_columns() > 0; }

int stdout_width() {
  const int columns = shown_columns();
  return columns > 0 ? columns : kDefaultWidth;
}

void show_status_line(const std::string& text) { console().set_status(text); }

}  // namespace layalign::trainer
