// Power is lost at any change of a file: atomic files, metrics and the activation cache are as before or as after. And
// the model of the disk (power_loss.h) finds the mistakes that such code is known for.

#include "tests/fault/power_loss.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <span>

#include "checkpoints_tools/atomic_file.h"
#include "tests/fault/fault_cache.h"
#include "trainer/metrics.h"

namespace layalign::test {
namespace {

namespace fs = std::filesystem;
using checkpoints_tools::FileAction;
using checkpoints_tools::FileWriter;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::Not;

/// 10,000 bytes, so that they can be torn.
std::string text_of(char letter) { return std::string(10000, letter); }

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

/// What "file" holds after a loss of power while `write(path)` ran, and after that was reported; "": it is not there.
struct Found {
  std::set<std::string> before, after;
};

template <typename Write>
Found found_after(bool is_there, Write write) {
  const MemoryFolder folder;
  if (is_there) write_disk({.files = {{"file", text_of('o')}}}, folder.path());
  Recording recording(folder.path());
  write(folder / "file");
  recording.reported();
  Found found;
  replay_power_losses(recording, {}, [&](const fs::path& disk, int reports) {
    (reports == 0 ? found.before : found.after).insert(read_disk(disk).files["file"]);
  });
  return found;
}

void write_atomically(const fs::path& path) {
  checkpoints_tools::AtomicFile file(path);
  file.write(text_of('n').substr(0, 6000));
  file.write(text_of('n').substr(6000));
  file.commit();
}

TEST(PowerLoss, AnAtomicFileIsTheOldOneOrTheNew) {
  const Found replaced = found_after(true, write_atomically);
  EXPECT_THAT(replaced.before, ElementsAre(text_of('n'), text_of('o')));
  EXPECT_THAT(replaced.after, ElementsAre(text_of('n')));
  const Found made = found_after(false, write_atomically);
  EXPECT_THAT(made.before, ElementsAre("", text_of('n')));
  EXPECT_THAT(made.after, ElementsAre(text_of('n')));
}

TEST(PowerLoss, TheModelFindsAFileThatIsNotFlushedBeforeItIsRenamed) {
  const Found found = found_after(true, [](const fs::path& path) {
    const fs::path temporary = path.string() + ".tmp";
    auto file = FileWriter::create(temporary, path);
    file.write(bytes_of(text_of('n')));
    file.close();
    checkpoints_tools::rename_file(temporary, path);
    checkpoints_tools::flush_folder_of(path);
  });
  EXPECT_THAT(found.after,
              AllOf(Contains(""), Contains(std::string(10000, '\0')), Contains(text_of('n').substr(0, 512)),
                    Contains(text_of('n').substr(0, 8192) + std::string(1808, '\0'))));
}

TEST(PowerLoss, TheModelFindsAFolderThatIsNotFlushed) {
  const Found found = found_after(true, [](const fs::path& path) {
    const fs::path temporary = path.string() + ".tmp";
    auto file = FileWriter::create(temporary, path);
    file.write(bytes_of(text_of('n')));
    file.flush();
    file.close();
    checkpoints_tools::rename_file(temporary, path);
  });
  EXPECT_THAT(found.after, Contains(text_of('o')));
}

TEST(PowerLoss, TheModelFindsAFileThatIsWrittenInPlace) {
  const Found found = found_after(true, [](const fs::path& path) {
    auto file = FileWriter::open(path, path);
    file.write(bytes_of(text_of('n')));
    file.flush();
    file.close();
  });
  EXPECT_THAT(found.before, Contains(text_of('n').substr(0, 4096) + text_of('o').substr(4096)));
}

TEST(PowerLoss, TheModelFindsAFolderWhoseNameIsLost) {
  Disk disk({});
  disk.apply({.action = FileAction::kMakeFolder, .path = "a"});
  disk.apply({.action = FileAction::kCreate, .path = "a/file"});
  disk.apply({.action = FileAction::kFlush, .path = "a/file"});
  disk.apply({.action = FileAction::kFlushFolder, .path = "a"});
  std::set<size_t> files;
  disk.after_power_loss([&](const DiskContent& content, const std::string&) { files.insert(content.files.size()); });
  EXPECT_THAT(files, ElementsAre(0, 1));
  disk.apply({.action = FileAction::kFlushFolder, .path = "."});
  disk.after_power_loss([&](const DiskContent& content, const std::string&) { EXPECT_EQ(content.files.size(), 1); });
}

TEST(PowerLoss, TheModelMakesChangesOfNamesInAnyOrder) {
  Disk disk({.files = {{"a", "1"}, {"b", "2"}}});
  disk.apply({.action = FileAction::kRemove, .path = "a"});
  disk.apply({.action = FileAction::kRename, .path = "c", .other = "b"});
  std::set<std::string> names;
  disk.after_power_loss([&](const DiskContent& content, const std::string&) {
    std::string all;
    for (const auto& [name, bytes] : content.files) all += name;
    names.insert(all);
  });
  EXPECT_THAT(names, ElementsAre("ab", "ac", "b", "c"));
}

trainer::StepMetrics metrics_of(int64_t step) {
  trainer::StepMetrics metrics;
  metrics.stage = "translation";
  metrics.step = step;
  metrics.loss = 1.0 / static_cast<double>(step);
  return metrics;
}

/// Lines are durable when they were flushed; a resume drops those behind, whatever is left of them.
TEST(PowerLoss, NoFlushedLineOfTheMetricsIsLost) {
  constexpr int64_t kLines = 30;  // some 8 KiB
  const MemoryFolder folder;
  Recording recording(folder.path());
  {
    trainer::MetricsFile metrics(folder / "metrics.jsonl");
    for (int64_t step = 1; step <= 2 * kLines; ++step) {
      metrics.append(metrics_of(step));
      if (step != kLines) continue;
      metrics.sync();
      recording.reported();
    }
  }
  std::string flushed;
  for (int64_t step = 1; step <= kLines; ++step) flushed += to_json(metrics_of(step)) + "\n";
  const auto count = replay_power_losses(recording, {}, [&](const fs::path& disk, int reports) {
    const fs::path path = disk / "metrics.jsonl";
    ASSERT_TRUE(reports == 0 || fs::exists(path));
    trainer::MetricsFile(path).truncate_after(0, reports * kLines);
    EXPECT_EQ(read_disk(disk).files["metrics.jsonl"], reports > 0 ? flushed : "");
  });
  expect_states("metrics", count, 1000);
}

const std::set<std::string> kCacheLocks = {".lock", ".publication"};

/// Other states for the same text, as another grid's rounding makes them.
at::Tensor older_rows_of(const std::vector<int64_t>& ids, const data::CacheForm& form) {
  return data::encode_rows(-data::states_of(ids, form), form.dtype);
}

/// What is found in a cache: right states (or older ones where they may be there), of whole shards; how many texts. A
/// folder that is no cache has none.
int found_texts(const fs::path& folder, const data::CacheForm& form, data::ActivationCache::OnDamage on_damage,
                bool may_be_older = false) {
  if (!fs::exists(folder / "cache.json")) return 0;
  const data::ActivationCache cache(folder, form, on_damage);
  int found = 0;
  for (const auto& texts : data::fault_shards()) {
    for (const auto& ids : texts) {
      const auto place = cache.find(data::cache_key(ids));
      if (!place) continue;
      ++found;
      const auto rows = data::read_text(*place, form);
      EXPECT_TRUE(data::same_bytes(rows, data::rows_of(ids, form)) ||
                  (may_be_older && data::same_bytes(rows, older_rows_of(ids, form))));
    }
  }
  for (const auto& shard : cache.shards()) EXPECT_THAT(shard->verify(), ElementsAre());
  for (const auto& shard : cache.passed_over()) EXPECT_THAT(shard.problem, Not(testing::HasSubstr("No such file")));
  return found;
}

TEST(PowerLoss, ACacheHasEveryShardThatWasReportedAndNoHalfOne) {
  const MemoryFolder folder;
  const data::CacheForm form = data::fault_form();
  Recording recording(folder.path());
  {
    const data::CacheWriteLock lock(folder / "runs/cache");
    data::ActivationCache::create(folder / "runs/cache", form);
    recording.reported();
    for (const data::Texts& texts : data::fault_shards()) {
      data::add_shard(folder / "runs/cache", form, texts);
      recording.reported();
    }
  }
  const auto count = replay_power_losses(recording, kCacheLocks, [&](const fs::path& disk, int reports) {
    const fs::path cache = disk / "runs/cache";
    EXPECT_TRUE(reports == 0 || fs::exists(cache / "cache.json"));
    const int found = found_texts(cache, form, data::ActivationCache::OnDamage::kRefuse);
    EXPECT_GE(found, 3 * (reports - 1));
    EXPECT_LE(found, 3 * reports);
    EXPECT_EQ(found % 3, 0);
    data::ActivationCache::create(cache, form);  // as the next build does
    EXPECT_EQ(found_texts(cache, form, data::ActivationCache::OnDamage::kRefuse), found);
    for (const auto& [path, bytes] : read_disk(disk).files) EXPECT_FALSE(path.ends_with(".tmp")) << path;
  });
  expect_states("cache", count, 120);
}

/// A damaged shard is removed and written again, or a whole one is replaced by another one of its texts: a third one is
/// never touched.
TEST(PowerLoss, ACacheThatIsRepairedHasNoHalfShard) {
  const data::CacheForm form = data::fault_form();
  const auto shards = data::fault_shards();
  for (const bool is_damaged : {true, false}) {
    const MemoryFolder folder;
    const fs::path cache = folder / "cache";
    data::ActivationCache::create(cache, form);
    data::ShardWriter first(cache, form, shards[0]);
    for (size_t i = 0; i < shards[0].size(); ++i)
      first.write(static_cast<int64_t>(i), older_rows_of(shards[0][i], form));
    first.commit();
    data::add_shard(cache, form, shards[1]);
    if (is_damaged) fs::resize_file(first.path(), 100);
    for (const auto& name : kCacheLocks) fs::remove(cache / name);
    Recording recording(folder.path());
    data::ActivationCache(cache, form, data::ActivationCache::OnDamage::kPassOver).remove_passed_over();
    data::add_shard(cache, form, shards[0]);
    recording.reported();
    const auto count = replay_power_losses(recording, kCacheLocks, [&](const fs::path& disk, int reports) {
      const auto on_damage =
          is_damaged ? data::ActivationCache::OnDamage::kPassOver : data::ActivationCache::OnDamage::kRefuse;
      const int found = found_texts(disk / "cache", form, on_damage, /*may_be_older=*/reports == 0 && !is_damaged);
      EXPECT_TRUE(found == 6 || (found == 3 && reports == 0)) << found;
    });
    expect_states(is_damaged ? "repaired cache" : "replaced shard", count, is_damaged ? 100 : 60);
  }
}

}  // namespace
}  // namespace layalign::test
