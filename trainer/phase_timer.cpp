#include "trainer/phase_timer.h"

#include <c10/core/impl/VirtualGuardImpl.h>

namespace layalign::trainer {

void PhaseTimer::begin() {
  marks_.clear();
  mark(Phase::kData);
}

void PhaseTimer::enter(Phase phase) {
  if (!marks_.empty() && marks_.back().phase != phase) mark(phase);
}

void PhaseTimer::mark(Phase phase) {
  Mark& mark = marks_.emplace_back(Mark{phase, model::Clock::now(), std::nullopt});
  if (device_.is_cpu()) return;
  mark.device.emplace(device_.type(), c10::EventFlag::BACKEND_DEFAULT);
  mark.device->record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
}

std::optional<PhaseSeconds> PhaseTimer::finish() {
  if (marks_.empty()) return std::nullopt;
  mark(Phase::kUpdate);
  if (marks_.back().device) marks_.back().device->synchronize();
  PhaseSeconds seconds{};
  for (size_t i = 1; i < marks_.size(); ++i) {
    const Mark &from = marks_[i - 1], &to = marks_[i];
    seconds[static_cast<size_t>(from.phase)] += from.device
                                                    ? from.device->elapsedTime(*to.device) / 1e3
                                                    : std::chrono::duration<double>(to.host - from.host).count();
  }
  marks_.clear();
  return seconds;
}

}  // namespace layalign::trainer
