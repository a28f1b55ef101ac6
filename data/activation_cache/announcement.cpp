#include "data/activation_cache/announcement.h"

#include <algorithm>
#include <functional>
#include <numeric>

namespace layalign::data {
namespace {

bool same(const CachedText& a, const CachedText& b) { return a.shard == b.shard && a.text == b.text; }

}  // namespace

Announcement::Announcement(std::span<const CachedText> announced)
    : texts(announced.begin(), announced.end()),
      starts{0},
      progress(texts.size(), Progress::kWaiting),
      problems(texts.size()),
      unread(static_cast<int64_t>(texts.size())),
      untaken(unread),
      order_(texts.size()) {
  for (const CachedText& text : texts) starts.push_back(starts.back() + text.tokens());
  std::iota(order_.begin(), order_.end(), 0);
  std::sort(order_.begin(), order_.end(), [&](int64_t a, int64_t b) {
    if (texts[a].shard != texts[b].shard) return std::less<>()(texts[a].shard, texts[b].shard);
    return texts[a].text < texts[b].text;  // blocks lie in the order of the texts
  });
}

bool Announcement::is_for(std::span<const CachedText> wanted) const {
  return untaken == static_cast<int64_t>(texts.size()) &&
         std::equal(texts.begin(), texts.end(), wanted.begin(), wanted.end(), same);
}

bool Announcement::has_waiting() {
  while (next_ < order_.size() && progress[order_[next_]] != Progress::kWaiting) ++next_;
  return next_ < order_.size();
}

std::vector<size_t> Announcement::next_run(int64_t bytes, int64_t token_bytes) {
  std::vector<size_t> run;
  while (bytes > 0 && has_waiting()) {
    run.push_back(order_[next_++]);
    bytes -= texts[run.back()].tokens() * token_bytes;
  }
  return run;
}

}  // namespace layalign::data
