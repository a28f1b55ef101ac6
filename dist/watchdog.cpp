#include "dist/watchdog.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <utility>

#include "dist/error.h"

namespace layalign::dist {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kExitCode = 70;             // a dead or disagreeing peer
constexpr double kAbortGrace_s = 1;       // for the communicators
constexpr double kLastResort_s = 5;       // MPI_Abort itself can hang
constexpr double kTurnOfSecondObserver_s = 1.5;
constexpr double kSilence_s = 2;  // at least
constexpr double kFlushPatience_s = 1;

std::chrono::duration<double> span(double seconds) { return std::chrono::duration<double>(seconds); }

double shortest(const WatchdogLimits& limits) {
  double least = 0;
  for (const double limit : {limits.set_up_s, limits.step_s, limits.save_s, limits.evaluation_s}) {
    if (limit > 0) least = least > 0 ? std::min(least, limit) : limit;
  }
  return least;
}

const char* key_of(Section section) {
  switch (section) {
    case Section::kSetUp:
      return "watchdog.set_up";
    case Section::kStep:
      return "watchdog.step";
    case Section::kSave:
      return "watchdog.save";
    case Section::kEvaluation:
      break;
  }
  return "watchdog.evaluation";
}

}  // namespace

double WatchdogLimits::of(Section section) const {
  switch (section) {
    case Section::kSetUp:
      return set_up_s;
    case Section::kStep:
      return step_s;
    case Section::kSave:
      return save_s;
    case Section::kEvaluation:
      break;
  }
  return evaluation_s;
}

Watchdog::Watchdog(std::shared_ptr<Process> process, const WatchdogLimits& limits, WatchdogTalk talk)
    : process_(std::move(process)), limits_(limits), talk_(std::move(talk)) {
  for (const auto& host : process_->all_gather(process_->host())) {
    Observed rank;
    rank.view.host = host;
    rank.view.beat.rank = static_cast<int32_t>(ranks_.size());
    ranks_.push_back(rank);
  }
  if (process_->world_size() > 1) channel_ = process_->make_heartbeat_channel();
  const double least = shortest(limits_);
  interval_s_ = least > 0 ? std::clamp(least / 20, 0.05, 1.0) : 1.0;
  thread_ = std::thread([this] { run(); });
}

Watchdog::~Watchdog() { end_thread(); }

void Watchdog::end_thread() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Watchdog::guard(const Communicator& communicator) {
  const std::lock_guard lock(mutex_);
  guarded_.push_back(communicator);
}

void Watchdog::stop() {
  end_thread();
  const auto channel = std::exchange(channel_, nullptr);  // first: whatever fails below, it is not used again
  if (!channel) return;
  // Nothing should be on its way when MPI ends: the observers wait for the last heartbeat of every rank.
  Heartbeat last = own_beat();
  last.is_last = 1;
  channel->flush(kFlushPatience_s);
  channel->send(last);
  ranks_[static_cast<size_t>(process_->world_rank())].has_left = true;
  const auto all_have_left = [this] { return std::all_of(ranks_.begin(), ranks_.end(), [](const Observed& rank) { return rank.has_left; }); };
  const auto deadline = Clock::now() + span(kFlushPatience_s);
  while (is_observer() && !all_have_left() && Clock::now() < deadline) {
    for (const Heartbeat& beat : channel->receive()) take(beat);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  channel->flush(kFlushPatience_s);
}

void Watchdog::run() {
  std::unique_lock lock(mutex_);
  auto last = Clock::now();
  while (!wake_.wait_for(lock, span(interval_s_), [this] { return stopping_; })) {
    lock.unlock();
    const double elapsed_s = std::chrono::duration<double>(Clock::now() - last).count();
    last = Clock::now();
    // A tick that took much longer than it should: the process itself was stopped. That time does not count.
    const double counted_s = std::min(elapsed_s, 2 * interval_s_ + 0.5);
    now_s_ += counted_s;
    try {
      tick();
    } catch (const CommError& error) {
      talk_.error(std::string("the watchdog cannot reach the other ranks: ") + error.what());
      process_->abort(kExitCode);
    }
    lock.lock();
  }
}

bool Watchdog::is_observer() const {
  const int rank = process_->world_rank();
  return rank == 0 || rank == process_->world_size() - 1;
}

Heartbeat Watchdog::own_beat() const {
  const auto rank = static_cast<size_t>(process_->world_rank());
  Heartbeat beat;
  beat.rank = process_->world_rank();
  beat.activity = process_->activity()->read();
  const bool goes_on = beat.activity.progress != ranks_[rank].view.beat.activity.progress;
  beat.idle_s = goes_on ? 0 : now_s_ - ranks_[rank].went_on_at_s;
  return beat;
}

void Watchdog::take(const Heartbeat& beat) {
  Observed& rank = ranks_[static_cast<size_t>(beat.rank)];
  if (!rank.view.heard || beat.activity.progress != rank.view.beat.activity.progress) rank.went_on_at_s = now_s_;
  rank.view.beat = beat;
  rank.view.heard = true;
  rank.has_left = beat.is_last != 0;
  rank.heard_at_s = now_s_;
}

double Watchdog::silent_after_s() const { return std::max(kSilence_s, 4 * interval_s_); }

double Watchdog::limit_s() const {
  double largest = 0;
  for (const Observed& rank : ranks_) {
    if (rank.has_left || now_s_ - rank.heard_at_s > silent_after_s()) continue;  // it may have entered another section since
    const double limit = limits_.of(rank.view.beat.activity.section);
    if (limit == 0) return 0;
    largest = std::max(largest, limit);
  }
  return largest;
}

double Watchdog::idle_s() const {
  double last = 0;
  for (const Observed& rank : ranks_) last = std::max(last, rank.went_on_at_s);
  return now_s_ - last;
}

void Watchdog::tick() {
  const Heartbeat mine = own_beat();
  take(mine);
  tell_of_stop();
  if (channel_) {
    channel_->send(mine);
    for (const Heartbeat& beat : channel_->receive()) take(beat);
  }
  if (!is_observer()) return;
  const double turn_s = process_->world_rank() == 0 ? 0 : kTurnOfSecondObserver_s;
  const double limit = limit_s();
  if (limit > 0 && idle_s() > limit + 2 * interval_s_ + turn_s) end_job();
}

void Watchdog::tell_of_stop() {
  if (told_of_stop_) return;
  const std::string reason = talk_.asked_to_stop();
  if (reason.empty()) return;
  told_of_stop_ = true;
  const auto& activity = ranks_[static_cast<size_t>(process_->world_rank())].view.beat.activity;
  talk_.note(reason + ": this process (" + process_->host() + ") is in " + describe_section(activity) + ", " +
             describe_collective(activity));
}

void Watchdog::end_job() {
  // This much later the process ends, whatever MPI and the drivers do.
  std::thread([] {
    std::this_thread::sleep_for(span(kLastResort_s));
    std::_Exit(kExitCode);
  }).detach();
  std::vector<RankView> views;
  for (const Observed& rank : ranks_) {
    views.push_back(rank.view);
    views.back().silent_s = rank.has_left ? 0 : now_s_ - rank.heard_at_s;
  }
  const auto& mine = ranks_[static_cast<size_t>(process_->world_rank())].view.beat.activity;
  talk_.error("watchdog: no rank has gone on for " + std::to_string(static_cast<int64_t>(idle_s())) + " s in " +
              describe_section(mine) + " (" + key_of(mine.section) + "). Held up by:" +
              find_culprits(views, silent_after_s()) +
              "\nAll ranks are ended; the same command goes on from the last checkpoint. Where the work may take that long, raise " +
              key_of(mine.section));
  abort_communicators();
  process_->abort(kExitCode);
}

void Watchdog::abort_communicators() {
  std::vector<Communicator> guarded;
  {
    const std::lock_guard lock(mutex_);
    guarded = guarded_;
  }
  // Aborting can hang as well, so it is not waited for.
  std::thread([guarded = std::move(guarded)] {
    for (const Communicator& communicator : guarded) communicator.abort();
  }).detach();
  std::this_thread::sleep_for(span(kAbortGrace_s));
}

}  // namespace layalign::dist
