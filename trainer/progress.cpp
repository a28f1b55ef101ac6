#include "trainer/progress.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "trainer/format.h"
#include "trainer/log.h"

namespace layalign::trainer {
namespace {

constexpr std::chrono::milliseconds kRedrawInterval{100};
constexpr int kWidestBar = 40, kNarrowestBar = 8;

}  // namespace

std::string format_duration(double seconds) {
  const auto total = static_cast<long long>(std::max(0.0, std::round(seconds)));
  if (total < 60) return format("%llds", total);
  if (total < 3600) return format("%lldm%02llds", total / 60, total % 60);
  if (total < 86400) return format("%lldh%02lldm", total / 3600, total / 60 % 60);
  return format("%lldd%02lldh", total / 86400, total / 3600 % 24);
}

Progress::Progress(std::string stage_name, int64_t stage_index, int64_t stage_count, int64_t total_steps,
                   int64_t log_every, bool terminal)
    : title_(format("stage %lld/%lld ", static_cast<long long>(stage_index + 1), static_cast<long long>(stage_count)) +
             stage_name),
      total_steps_(total_steps),
      log_every_(std::max<int64_t>(1, log_every)),
      terminal_(terminal) {}

Progress::~Progress() {
  if (terminal_) show_status_line("");
}

void Progress::step(const StepMetrics& metrics) {
  last_ = metrics;
  ++steps_seen_;
  const bool is_last = metrics.step == total_steps_;
  if (!terminal_) {
    if (is_last || metrics.step % log_every_ == 0) log_info(title_ + "  " + numbers(metrics));
    return;
  }
  const Clock::time_point now = Clock::now();
  if (!is_last && now - drawn_ < kRedrawInterval) return;
  drawn_ = now;
  show_status_line(bar(metrics, stdout_width() - 1));
}

void Progress::finish() {
  if (!terminal_) return;
  show_status_line("");
  if (last_) log_info(title_ + "  " + numbers(*last_));
  last_.reset();
}

std::string Progress::numbers(const StepMetrics& m) const {
  std::string text = format("step %lld/%lld  loss %.4f  grad %.2f  lr %.1e  %.0f tok/s", static_cast<long long>(m.step),
                            static_cast<long long>(total_steps_), m.loss, m.grad_norm, m.lr, m.tokens_per_s);
  if (m.mfu) text += format("  MFU %.1f %%", 100 * *m.mfu);
  if (!terminal_) text += details(m);
  const bool is_last = m.step == total_steps_;
  return text + (is_last ? "" : "  ETA " + format_duration(remaining_s(m.step)));
}

std::string Progress::details(const StepMetrics& m) {
  std::string text = format("  %.1f samples/s", m.samples_per_s);
  if (!m.phase_s) return text;
  const double whole = std::accumulate(m.phase_s->begin(), m.phase_s->end(), 0.0);
  for (size_t i = 0; i < kPhases; ++i) {
    text += format("%s%s %.0f", i == 0 ? "  " : ", ", kPhaseNames[i], 100 * (*m.phase_s)[i] / whole);
  }
  return text + " %";
}

std::string Progress::bar(const StepMetrics& metrics, int width) const {
  const std::string text = "  " + numbers(metrics);
  const int room = width - static_cast<int>(title_.size() + text.size()) - 3;  // " [" and "]"
  if (room < kNarrowestBar) return title_ + text;
  const int cells = std::min(room, kWidestBar);
  const auto done = static_cast<int>(cells * metrics.step / std::max<int64_t>(1, total_steps_));
  return title_ + " [" + std::string(done, '#') + std::string(cells - done, '.') + "]" + text;
}

double Progress::remaining_s(int64_t step) const {
  const double elapsed_s = std::chrono::duration<double>(Clock::now() - start_).count();
  return elapsed_s / static_cast<double>(steps_seen_) * static_cast<double>(total_steps_ - step);
}

}  // namespace layalign::trainer
