#include "data/activation_cache/block_reader.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

#include "data/activation_cache/announcement.h"
#include "data/activation_cache/block_memory.h"

// Shape letters: P planes asked for, S tokens of all texts, R bytes of a row.

namespace layalign::data {
namespace {

using Progress = Announcement::Progress;
using Shared = std::shared_ptr<Announcement>;
using Lock = std::unique_lock<std::mutex>;

/// What a thread takes at once: enough that handing it over costs little, little enough that all threads have work.
constexpr int64_t kRunBytes = int64_t{1} << 20;

/// Texts of an announcement that one thread reads.
struct Run {
  Shared announcement;
  std::vector<size_t> texts;
};

/// A text of an announcement.
struct Slot {
  Shared announcement;
  size_t index = 0;

  Progress& progress() const { return announcement->progress[index]; }
};

}  // namespace

struct BlockReader::Impl {
  Impl(const ActivationCache& cache, std::vector<int64_t> wanted_planes, const BlockReaderOptions& options)
      : planes(std::move(wanted_planes)),
        row_bytes(cache.form().row_bytes()),
        limit_bytes(options.memory_limit_bytes),
        memory(options.memory_limit_bytes / 4, options.pinned) {
    for (int64_t plane : planes) {
      TORCH_CHECK(plane >= 0 && plane < cache.form().planes(), "plane ", plane, " of ", cache.form().planes());
    }
    for (int i = 0; i < std::max(options.threads, 1); ++i) threads.emplace_back([this] { work(); });
  }

  ~Impl() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    work_there.notify_all();
    for (std::thread& thread : threads) thread.join();
  }

  // --- the threads ---------------------------------------------------------------------------------------------------

  /// The announcement whose texts are read next, where there is one for which there is room.
  Shared next() {
    for (const Shared& announcement : queue) {
      if (announcement->urgent && announcement->started && announcement->has_waiting()) return announcement;
    }
    for (const Shared& announcement : queue) {
      if (announcement->urgent || !announcement->has_waiting()) continue;
      return announcement->started || start_ahead(*announcement) ? announcement : nullptr;
    }
    return nullptr;
  }

  /// Takes the next texts of an announcement: a small share of it, so that all threads end together.
  Run next_run(const Shared& announcement) {
    const int64_t share = announcement->bytes / (4 * static_cast<int64_t>(threads.size()));
    Run run{announcement, announcement->next_run(std::clamp<int64_t>(share, 1, kRunBytes), token_bytes())};
    for (const size_t text : run.texts) announcement->progress[text] = Progress::kReading;
    return run;
  }

  bool start_ahead(Announcement& announcement) {
    if (waiting_bytes + announcement.bytes > limit_bytes) return false;
    try {
      start(announcement);
    } catch (const std::exception&) {
      return false;  // no memory: whoever takes it will hear of it
    }
    return true;
  }

  void start(Announcement& announcement) {
    announcement.rows_PSR = memory.rows_PSR(static_cast<int64_t>(planes.size()), announcement.tokens(), row_bytes);
    announcement.started = true;
    if (announcement.urgent) return;  // taken as soon as it is there
    waiting_bytes += announcement.bytes;
    peak_bytes = std::max(peak_bytes, waiting_bytes);
  }

  void work() {
    Lock lock(mutex);
    for (;;) {
      Shared announcement;
      work_there.wait(lock, [&] { return stopping || (announcement = next()); });
      if (stopping) return;
      const Run run = next_run(announcement);
      ++reading;
      lock.unlock();
      std::vector<std::exception_ptr> problems;
      for (const size_t text : run.texts) problems.push_back(read(*announcement, text));
      lock.lock();
      --reading;
      finish(run, problems);
    }
  }

  /// Returns what went wrong.
  std::exception_ptr read(const Announcement& announcement, size_t index) const {
    const CachedText& text = announcement.texts[index];
    auto* rows = static_cast<std::byte*>(announcement.rows_PSR.mutable_data_ptr());
    try {
      text.shard->read(text.text, planes, rows + announcement.starts[index] * row_bytes, announcement.tokens() * row_bytes);
      return nullptr;
    } catch (const std::exception&) {
      return std::current_exception();
    }
  }

  void finish(const Run& run, const std::vector<std::exception_ptr>& problems) {
    Announcement& announcement = *run.announcement;
    for (size_t i = 0; i < run.texts.size(); ++i) {
      const size_t text = run.texts[i];
      if (!problems[i]) read_bytes += announcement.texts[text].tokens() * token_bytes();
      announcement.problems[text] = problems[i];
      announcement.progress[text] = Progress::kDone;
    }
    announcement.unread -= static_cast<int64_t>(run.texts.size());
    // Waking the caller for every text would cost as much as reading a short one.
    if (announcement.unread == 0 || reading == 0 || awaits_single_texts) text_done.notify_all();
  }

  // --- the caller ----------------------------------------------------------------------------------------------------

  void announce(std::span<const CachedText> texts) {
    auto announcement = std::make_shared<Announcement>(texts);
    announcement->bytes = memory.counted_bytes(announcement->tokens() * token_bytes());
    for (size_t i = 0; i < texts.size(); ++i) announced[key_of(texts[i])].push_back({announcement, i});
    queue.push_back(std::move(announcement));
  }

  /// Announces in parts that the memory limit has room for.
  void expect(std::span<const CachedText> texts) {
    const auto bytes_of = [&](const CachedText& text) { return text.tokens() * token_bytes(); };
    int64_t all_bytes = 0;
    for (const CachedText& text : texts) all_bytes += bytes_of(text);
    const int64_t part_bytes = memory.counted_bytes(all_bytes) <= limit_bytes ? all_bytes : limit_bytes / 4;
    const Lock lock(mutex);
    while (!texts.empty()) {
      size_t count = 1;
      int64_t bytes = bytes_of(texts[0]);
      while (count < texts.size() && bytes + bytes_of(texts[count]) <= part_bytes) bytes += bytes_of(texts[count++]);
      announce(texts.first(count));
      texts = texts.subspan(count);
    }
    work_there.notify_all();
  }

  /// The announcement of exactly these texts, no longer announced; null where there is none.
  Shared remove_announcement(std::span<const CachedText> texts) {
    const auto found = std::find_if(queue.begin(), queue.end(), [&](const Shared& one) { return one->is_for(texts); });
    if (found == queue.end()) return nullptr;
    const Shared announcement = *found;
    for (const CachedText& text : announcement->texts) {
      const auto slots = announced.find(key_of(text));
      if (slots == announced.end()) continue;  // twice in it: the first turn has removed both
      std::erase_if(slots->second, [&](const Slot& slot) { return slot.announcement == announcement; });
      if (slots->second.empty()) announced.erase(slots);
    }
    return announcement;
  }

  /// The oldest announcement of a text, which is given away; null where it is not announced.
  Slot remove_slot(const CachedText& text) {
    const auto found = announced.find(key_of(text));
    if (found == announced.end()) return {};
    const Slot slot = found->second.front();
    found->second.pop_front();
    if (found->second.empty()) announced.erase(found);
    return slot;
  }

  void wait_for(Lock& lock, const std::function<bool()>& condition) {
    const auto start = std::chrono::steady_clock::now();
    text_done.wait(lock, condition);
    waited_s += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  /// Out of the queue, and its memory out of the count.
  void drop(const Shared& announcement) {
    if (announcement->started && !announcement->urgent) waiting_bytes -= announcement->bytes;
    std::erase(queue, announcement);
    work_there.notify_all();
  }

  /// Makes the threads read it next, whatever the limit.
  void hurry(const Shared& announcement) {
    if (announcement->started) waiting_bytes -= announcement->bytes;
    announcement->urgent = true;
    if (!announcement->started) start(*announcement);
    work_there.notify_all();
  }

  ReadBlocks result_of(const Announcement& announcement) const {
    ReadBlocks blocks{announcement.rows_PSR, {}};
    for (size_t i = 0; i < announcement.problems.size(); ++i) {
      if (announcement.problems[i]) blocks.damaged.emplace_back(i, announcement.problems[i]);
    }
    return blocks;
  }

  ReadBlocks take(std::span<const CachedText> texts) {
    Lock lock(mutex);
    Shared batch = remove_announcement(texts);
    std::vector<std::pair<size_t, Slot>> elsewhere;  // texts of the batch that are read into another announcement
    if (!batch) {
      batch = std::make_shared<Announcement>(texts);
      batch->bytes = memory.counted_bytes(batch->tokens() * token_bytes());
      gather(*batch, elsewhere);
      queue.push_back(batch);
    }
    hurry(batch);
    awaits_single_texts = !elsewhere.empty();
    wait_for(lock, [&] {
      const bool there = std::all_of(elsewhere.begin(), elsewhere.end(),
                                     [](const auto& from) { return from.second.progress() == Progress::kDone; });
      return batch->unread == 0 && there;
    });
    drop(batch);
    lock.unlock();
    for (const auto& [index, slot] : elsewhere) copy(slot, *batch, index);
    lock.lock();
    for (const auto& [index, slot] : elsewhere) give_away(slot);
    return result_of(*batch);
  }

  /// Finds the texts of a batch that are being read already or are there; the others remain to be read.
  void gather(Announcement& batch, std::vector<std::pair<size_t, Slot>>& elsewhere) {
    for (size_t i = 0; i < batch.texts.size(); ++i) {
      const Slot slot = remove_slot(batch.texts[i]);
      if (!slot.announcement) continue;
      if (slot.progress() == Progress::kWaiting) {
        --slot.announcement->unread;
        give_away(slot);
        continue;
      }
      batch.progress[i] = Progress::kTaken;
      --batch.unread;
      elsewhere.emplace_back(i, slot);
    }
  }

  void give_away(const Slot& slot) {
    slot.progress() = Progress::kTaken;
    if (--slot.announcement->untaken == 0) drop(slot.announcement);
  }

  void copy(const Slot& from, Announcement& batch, size_t index) const {
    const Announcement& source = *from.announcement;
    batch.problems[index] = source.problems[from.index];
    const int64_t bytes = source.texts[from.index].tokens() * row_bytes;
    const auto* read = static_cast<const std::byte*>(source.rows_PSR.const_data_ptr());
    auto* rows = static_cast<std::byte*>(batch.rows_PSR.mutable_data_ptr());
    for (int64_t plane = 0; plane < static_cast<int64_t>(planes.size()); ++plane) {
      std::memcpy(rows + (plane * batch.tokens() + batch.starts[index]) * row_bytes,
                  read + (plane * source.tokens() + source.starts[from.index]) * row_bytes, static_cast<size_t>(bytes));
    }
  }

  void forget() {
    Lock lock(mutex);
    queue.clear();
    announced.clear();
    waiting_bytes = 0;
    text_done.wait(lock, [&] { return reading == 0; });  // their memory is still written
  }

  using Key = std::pair<const Shard*, int64_t>;
  static Key key_of(const CachedText& text) { return {text.shard, text.text}; }

  /// Of the planes that are read.
  int64_t token_bytes() const { return row_bytes * static_cast<int64_t>(planes.size()); }

  const std::vector<int64_t> planes;
  const int64_t row_bytes;
  const int64_t limit_bytes;
  const BlockMemory memory;

  std::mutex mutex;  // guards all below
  std::condition_variable work_there, text_done;
  std::deque<Shared> queue;                   // the oldest first
  std::map<Key, std::deque<Slot>> announced;  // not taken; the oldest first
  int64_t waiting_bytes = 0, peak_bytes = 0, read_bytes = 0;
  double waited_s = 0;
  int64_t reading = 0;  // runs of texts that threads read just now
  bool awaits_single_texts = false;  // `take` waits for texts of several announcements
  bool stopping = false;

  std::vector<std::thread> threads;
};

BlockReader::BlockReader(const ActivationCache& cache, std::vector<int64_t> planes, const BlockReaderOptions& options)
    : impl_(std::make_unique<Impl>(cache, std::move(planes), options)) {}

BlockReader::~BlockReader() = default;

void BlockReader::expect(std::span<const CachedText> texts) { impl_->expect(texts); }

ReadBlocks BlockReader::take(std::span<const CachedText> texts) { return impl_->take(texts); }

void BlockReader::forget() { impl_->forget(); }

int64_t BlockReader::bytes_read() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->read_bytes;
}

double BlockReader::waited_s() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->waited_s;
}

int64_t BlockReader::peak_waiting_bytes() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->peak_bytes;
}

}  // namespace layalign::data
