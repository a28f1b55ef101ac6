#include "data/activation_cache/activation_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/activation_cache/shard_layout.h"
#include "data/error.h"
#include "tests/unit/data/activation_cache/cache_files.h"

namespace layalign::data {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(ActivationCache, FindsTheTextsOfAllShards) {
  const TemporaryFolder folder;
  const CacheForm form = form_of();
  ActivationCache::create(folder.path(), form);
  const Texts first = texts_of(4, 1), second = texts_of(5, 2), third = texts_of(3, 3);
  add_shard(folder.path(), form, first);
  add_shard(folder.path(), form, second);
  ActivationCache cache(folder.path(), form);
  EXPECT_EQ(cache.texts(), 9);
  EXPECT_EQ(cache.shards().size(), 2u);
  for (const auto& ids : first)
    EXPECT_TRUE(same_bytes(read_text(*cache.find(cache_key(ids)), form), rows_of(ids, form)));
  const CachedText kept = *cache.find(cache_key(second[4]));
  EXPECT_EQ(kept.tokens(), 5);

  add_shard(folder.path(), form, third);
  EXPECT_EQ(cache.find(cache_key(third[0])), std::nullopt);
  cache.refresh();
  EXPECT_EQ(cache.texts(), 12);
  EXPECT_TRUE(same_bytes(read_text(*cache.find(cache_key(third[2])), form), rows_of(third[2], form)));
  EXPECT_TRUE(same_bytes(read_text(kept, form), rows_of(second[4], form)));  // places stay valid
}

TEST(ActivationCache, OfATextInSeveralShardsTheLastCommittedCounts) {
  const TemporaryFolder folder;
  const CacheForm form = form_of();
  ActivationCache::create(folder.path(), form);
  const Texts texts = texts_of(3);
  add_shard(folder.path(), form, texts);
  ActivationCache cache(folder.path(), form);
  ShardWriter again(folder.path(), form, {texts[1]});
  again.write(0, at::zeros_like(rows_of(texts[1], form)));
  again.commit();
  cache.refresh();
  EXPECT_EQ(cache.texts(), 3);
  EXPECT_EQ(read_text(*cache.find(cache_key(texts[1])), form).sum().item<int64_t>(), 0);
}

TEST(ActivationCache, AnotherFormIsRefusedByAllWhoOpenIt) {
  const TemporaryFolder folder;
  ActivationCache::create(folder.path(), form_of());
  ActivationCache::create(folder.path(), form_of());
  CacheForm other = form_of();
  other.layers = {3};
  const auto named = AllOf(HasSubstr(folder.path().string()), HasSubstr("layers: [0, 2, 3] in the cache, [3] wanted"));
  EXPECT_THAT(message_of<DataError>([&] { ActivationCache::create(folder.path(), other); }), named);
  EXPECT_THAT(message_of<DataError>([&] { ActivationCache(folder.path(), other); }), named);
  EXPECT_EQ(ActivationCache::read_form(folder.path()).layers, form_of().layers);
}

TEST(ActivationCache, AShardOfAnotherFormIsRefused) {
  const TemporaryFolder folder;
  CacheForm other = form_of();
  other.encoder_weights = "other";
  ActivationCache::create(folder.path(), form_of());
  add_shard(folder.path(), other, texts_of(2));
  EXPECT_THAT(message_of<DataError>([&] { ActivationCache(folder.path(), form_of()); }),
              AllOf(HasSubstr(".h5"), HasSubstr("encoder_weights: other in the cache")));
}

TEST(ActivationCache, CreateSweepsWhatKilledWritersLeft) {
  const TemporaryFolder folder;
  const CacheForm form = form_of();
  ActivationCache::create(folder.path(), form);
  const auto kept = add_shard(folder.path(), form, texts_of(2, 1));
  const auto orphan = add_shard(folder.path(), form, texts_of(2, 2));
  std::filesystem::remove(manifest_of(orphan));
  const auto leftovers = {orphan, folder / "shard-0000000000000001.h5.tmp", folder / "shard-0000000000000001.json.tmp",
                          folder / "cache.json.tmp"};
  for (const auto& path : leftovers) {
    if (path != orphan) write_bytes(path, "x");
  }
  write_bytes(folder / "weights.json", "{}");  // not ours to remove
  EXPECT_EQ(ActivationCache(folder.path(), form).texts(), 2);
  {
    const CacheWriteLock lock(folder.path());  // of this process: it is the writer that makes ready
    ActivationCache::create(folder.path(), form);
  }
  for (const auto& path : leftovers) EXPECT_FALSE(std::filesystem::exists(path)) << path;
  EXPECT_TRUE(std::filesystem::exists(kept));
  EXPECT_TRUE(std::filesystem::exists(folder / "weights.json"));
  EXPECT_EQ(ActivationCache(folder.path(), form).texts(), 2);
}

TEST(CacheWriteLock, KeepsASecondWriterOutAndNamesTheFirst) {
  const TemporaryFolder folder;
  {
    const CacheWriteLock lock(folder.path());
    EXPECT_THAT(message_of<DataError>([&] { CacheWriteLock(folder.path()); }),
                AllOf(HasSubstr(folder.path().string()), HasSubstr("process " + std::to_string(::getpid()) + " on ")));
  }
  EXPECT_NO_THROW(CacheWriteLock(folder.path()));  // the file is still there, the lock is not
}

TEST(CacheWriteLock, MayBeTakenByWhoeverMayWriteIntoTheFolder) {
  namespace fs = std::filesystem;
  const mode_t umask_before = ::umask(022);
  for (const int mode : {0755, 0700, 0775, 0777}) {
    const TemporaryFolder parent;
    const fs::path folder = parent / "cache";
    fs::create_directory(folder);
    fs::permissions(folder, fs::perms(mode));
    { const CacheWriteLock lock(folder); }
    ActivationCache::create(folder, form_of());
    add_shard(folder, form_of(), texts_of(1));
    for (const char* file : {".lock", ".publication"}) {
      EXPECT_EQ(fs::status(folder / file).permissions(), fs::perms(0644 | (mode & 0666))) << file << " in " << mode;
    }
    fs::permissions(folder, fs::perms(0777));  // the next writer finds a folder that is open to more
    { const CacheWriteLock lock(folder); }
    EXPECT_EQ(fs::status(folder / ".lock").permissions(), fs::perms(0666)) << mode;
  }
  ::umask(umask_before);
}

TEST(ActivationCache, NoCacheNoFolderAndNoShardAreNamed) {
  const TemporaryFolder folder;
  EXPECT_THAT(message_of<DataError>([&] { ActivationCache(folder / "absent", form_of()); }),
              AllOf(HasSubstr("absent: is no activation cache"), HasSubstr("cache.path")));
  ActivationCache::create(folder.path(), form_of());
  const auto path = add_shard(folder.path(), form_of(), texts_of(2));
  std::filesystem::remove(path);
  EXPECT_THAT(message_of<DataError>([&] { ActivationCache(folder.path(), form_of()); }),
              AllOf(HasSubstr(path.string()), HasSubstr("No such file"), HasSubstr("layalign-cache build")));
}

}  // namespace
}  // namespace layalign::data
