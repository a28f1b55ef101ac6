#include "data/activation_cache/block_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "data/activation_cache/block_memory.h"
#include "data/error.h"
#include "tests/unit/data/activation_cache/cache_files.h"

namespace layalign::data {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

/// A cache of 30 texts in two shards.
class BlockReading : public testing::Test {
 protected:
  BlockReading() {
    ActivationCache::create(folder_.path(), form_);
    add_shard(folder_.path(), form_, Texts(texts_.begin(), texts_.begin() + 15));
    add_shard(folder_.path(), form_, Texts(texts_.begin() + 15, texts_.end()));
    cache_ = std::make_unique<ActivationCache>(folder_.path(), form_);
  }

  std::vector<CachedText> places(const std::vector<int64_t>& indices) const {
    std::vector<CachedText> places;
    for (int64_t i : indices) places.push_back(*cache_->find(cache_key(texts_[i])));
    return places;
  }

  at::Tensor expected(const std::vector<int64_t>& indices, const std::vector<int64_t>& planes) const {
    std::vector<at::Tensor> rows;
    for (int64_t i : indices) rows.push_back(rows_of(texts_[i], form_).index_select(0, at::tensor(planes, at::kLong)));
    return at::cat(rows, 1);
  }

  int64_t bytes(int64_t tokens, int64_t planes) const { return tokens * planes * form_.row_bytes(); }

  /// Waits, a minute at most, until that many bytes were read.
  static void wait_for_bytes(const BlockReader& reader, int64_t bytes) {
    for (int i = 0; i < 60000 && reader.bytes_read() < bytes; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ASSERT_EQ(reader.bytes_read(), bytes);
  }

  TemporaryFolder folder_;
  CacheForm form_ = form_of();
  Texts texts_ = texts_of(30);
  std::unique_ptr<ActivationCache> cache_;
};

TEST_F(BlockReading, TakesWhatWasAnnouncedAndWhatWasNot) {
  for (int threads : {1, 4}) {
    for (const std::vector<int64_t>& planes : {std::vector<int64_t>{0, 1, 2}, {2}, {2, 0}}) {
      BlockReader reader(*cache_, planes, {.threads = threads});
      const std::vector<int64_t> first = {3, 29, 0, 17}, second = {5, 5, 14}, third = {20, 1};
      reader.expect(places(first));
      reader.expect(places(second));
      for (const auto& indices : {first, second, third}) {
        const auto blocks = reader.take(places(indices));
        EXPECT_THAT(blocks.damaged, IsEmpty());
        EXPECT_TRUE(same_bytes(blocks.rows_PSR, expected(indices, planes)));
      }
    }
  }
}

TEST_F(BlockReading, BatchesMayBeCutAndOrderedOtherwiseThanAnnounced) {
  BlockReader reader(*cache_, {0, 1, 2}, {});
  reader.expect(places({1, 2, 3, 4, 5, 6}));
  reader.expect(places({3, 8}));
  for (const std::vector<int64_t>& indices : {std::vector<int64_t>{6, 3, 9}, {3, 3}, {8, 5, 4}, {}, {2, 1}}) {
    EXPECT_TRUE(same_bytes(reader.take(places(indices)).rows_PSR, indices.empty()
                                                                      ? at::empty({3, 0, form_.row_bytes()}, at::kByte)
                                                                      : expected(indices, {0, 1, 2})));
  }
}

TEST_F(BlockReading, WhatWasAnnouncedIsReadOnceForEveryTake) {
  BlockReader reader(*cache_, {1}, {});
  reader.expect(places({7}));
  reader.expect(places({7, 9}));
  wait_for_bytes(reader, bytes(8 + 8 + 10, 1));
  reader.take(places({7}));
  reader.take(places({7, 9}));
  EXPECT_EQ(reader.bytes_read(), bytes(26, 1));  // nothing was read by the takes
  reader.take(places({7}));
  EXPECT_EQ(reader.bytes_read(), bytes(26 + 8, 1));  // nothing was left
}

TEST_F(BlockReading, TheMemoryLimitHolds) {
  const int64_t limit = bytes(20, 3);
  BlockReader reader(*cache_, {0, 1, 2}, {.threads = 2, .memory_limit_bytes = limit});
  for (int64_t i = 0; i < 30; ++i) reader.expect(places({i % 10}));  // 1 to 10 tokens each
  wait_for_bytes(reader, bytes(15, 3));                              // 1 + 2 + 3 + 4 + 5; 6 more do not fit
  for (int64_t i = 0; i < 30; ++i) {
    EXPECT_TRUE(same_bytes(reader.take(places({i % 10})).rows_PSR, expected({i % 10}, {0, 1, 2})));
  }
  EXPECT_LE(reader.peak_waiting_bytes(), limit);
}

TEST_F(BlockReading, AnnouncementsLargerThanTheLimitAreReadInParts) {
  const int64_t limit = bytes(40, 3);
  BlockReader reader(*cache_, {0, 1, 2}, {.threads = 2, .memory_limit_bytes = limit});
  std::vector<int64_t> all;
  for (int64_t i = 0; i < 30; ++i) all.push_back(i);
  reader.expect(places(all));
  for (int64_t i = 0; i < 30; i += 5) {
    const std::vector<int64_t> batch(all.begin() + i, all.begin() + i + 5);
    EXPECT_TRUE(same_bytes(reader.take(places(batch)).rows_PSR, expected(batch, {0, 1, 2})));
  }
  EXPECT_LE(reader.peak_waiting_bytes(), limit);
  BlockReader tiny(*cache_, {0, 1, 2}, {.memory_limit_bytes = 1});  // nothing fits: everything is read when it is taken
  tiny.expect(places(all));
  EXPECT_TRUE(same_bytes(tiny.take(places(all)).rows_PSR, expected(all, {0, 1, 2})));
  EXPECT_EQ(tiny.peak_waiting_bytes(), 0);
}

TEST(BlockMemory, PageLockedPiecesCountAsThePowersOfTwoThatTheyAre) {
  EXPECT_EQ(BlockMemory(0, /*pinned=*/true).counted_bytes(1000), 1024);
  EXPECT_EQ(BlockMemory(0, /*pinned=*/true).counted_bytes(1024), 1024);
  EXPECT_EQ(BlockMemory(0, /*pinned=*/false).counted_bytes(1000), 1000);
}

TEST_F(BlockReading, ForgetDropsWhatWasAnnounced) {
  BlockReader reader(*cache_, {0}, {.memory_limit_bytes = bytes(12, 1)});
  for (int round = 0; round < 20; ++round) {
    reader.expect(places({9}));
    reader.expect(places({11}));
    reader.forget();
    reader.expect(places({4}));
    EXPECT_TRUE(same_bytes(reader.take(places({4})).rows_PSR, expected({4}, {0})));
  }
  const int64_t before = reader.bytes_read();
  reader.take(places({9}));
  EXPECT_EQ(reader.bytes_read(), before + bytes(10, 1));
  reader.expect(places({11}));  // the memory is free again
  wait_for_bytes(reader, before + bytes(10 + 12, 1));
}

TEST_F(BlockReading, DamagedTextsAreNamedAndTheOthersAreRead) {
  const CachedText damaged = places({3})[0];
  std::string bytes = read_bytes(damaged.shard->path());
  bytes[damaged.shard->block_offset(damaged.text) + 1] ^= 4;
  write_bytes(damaged.shard->path(), bytes);
  for (bool announced : {false, true}) {
    BlockReader reader(*cache_, {0, 1, 2}, {});
    if (announced) reader.expect(places({2, 3, 4}));
    for (const std::vector<int64_t>& indices : {std::vector<int64_t>{4, 3}, {2, 3, 4}}) {
      const auto blocks = reader.take(places(indices));
      ASSERT_THAT(blocks.damaged, SizeIs(1));
      EXPECT_EQ(blocks.damaged[0].first, 1u);
      EXPECT_THAT([&] { std::rethrow_exception(blocks.damaged[0].second); },
                  testing::ThrowsMessage<DataError>(HasSubstr(to_string(cache_key(texts_[3])))));
      const int64_t first = static_cast<int64_t>(texts_[indices[0]].size());
      EXPECT_TRUE(same_bytes(blocks.rows_PSR.narrow(1, 0, first), expected({indices[0]}, {0, 1, 2})));
    }
  }
}

TEST_F(BlockReading, AReaderMayGoBeforeWhatItRead) {
  at::Tensor rows;
  {
    BlockReader reader(*cache_, {0, 1, 2}, {});
    rows = reader.take(places({12, 13})).rows_PSR;
    reader.expect(places({14, 15, 16}));
  }
  EXPECT_TRUE(same_bytes(rows, expected({12, 13}, {0, 1, 2})));
}

}  // namespace
}  // namespace layalign::data
