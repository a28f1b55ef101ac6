#include "data/activation_cache/cache_shard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "checkpoints_tools/error.h"
#include "data/activation_cache/shard_layout.h"
#include "data/error.h"
#include "tests/unit/data/activation_cache/cache_files.h"

namespace layalign::data {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

at::Tensor read_planes(const Shard& shard, int64_t text, const std::vector<int64_t>& planes, const CacheForm& form) {
  auto rows = at::empty({static_cast<int64_t>(planes.size()), shard.tokens_of(text), form.row_bytes()}, at::kByte);
  shard.read(text, planes, {static_cast<std::byte*>(rows.mutable_data_ptr()), rows.nbytes()});
  return rows;
}

/// Calls work(0) to work(7), each on a thread of its own.
template <typename Work>
void on_eight_threads(const Work& work) {
  std::vector<std::thread> threads;
  for (int64_t thread = 0; thread < 8; ++thread) threads.emplace_back([&work, thread] { work(thread); });
  for (auto& thread : threads) thread.join();
}

void expect_equal_shards(const std::filesystem::path& a, const std::filesystem::path& b) {
  EXPECT_EQ(read_bytes(a), read_bytes(b));
  EXPECT_EQ(read_bytes(manifest_of(a)), read_bytes(manifest_of(b)));
}

TEST(Shard, HoldsWhatWasWrittenInEveryDtype) {
  for (CacheDtype dtype : {CacheDtype::kFloat32, CacheDtype::kBfloat16, CacheDtype::kFloat8}) {
    const TemporaryFolder folder;
    const CacheForm form = form_of(dtype);
    const Texts texts = texts_of(9);
    const auto path = add_shard(folder.path(), form, texts);
    const Shard shard(manifest_of(path), form);
    EXPECT_EQ(shard.texts(), 9);
    EXPECT_EQ(shard.tokens(), 45);
    EXPECT_EQ(shard.file_bytes(), static_cast<int64_t>(std::filesystem::file_size(path)));
    EXPECT_EQ(shard.block_offset(0) % 4096, 0);
    for (int64_t i = 0; i < 9; ++i) {
      EXPECT_EQ(shard.key(i), cache_key(texts[i]));
      EXPECT_EQ(std::vector<int64_t>(shard.ids(i).begin(), shard.ids(i).end()), texts[i]);
      EXPECT_TRUE(same_bytes(read_planes(shard, i, {0, 1, 2}, form), rows_of(texts[i], form)));
    }
    EXPECT_THAT(shard.verify(), IsEmpty());
  }
}

TEST(Shard, WhatTheSystemDoesNotReadIsNotCalledDamaged) {
  const TemporaryFolder folder;
  const CacheForm form = form_of();
  const Texts texts = texts_of(4);
  const auto path = add_shard(folder.path(), form, texts);
  const Shard shard(manifest_of(path), form);
  std::filesystem::remove(path);
  std::filesystem::create_symlink(path, path);  // "too many levels of symbolic links": as well it could be EIO or ESTALE
  using checkpoints_tools::IoError;
  EXPECT_THAT(message_of<IoError>([&] { read_planes(shard, 0, {0}, form); }), HasSubstr(path.string()));
  EXPECT_THAT(message_of<IoError>([&] { Shard(manifest_of(path), form); }), HasSubstr(path.string()));
  EXPECT_THAT(message_of<IoError>([&] { shard.verify(); }), HasSubstr(path.string()));
  std::filesystem::remove(path);
  EXPECT_THROW(read_planes(shard, 0, {0}, form), DataError);
}

TEST(Shard, PlanesAreChosenInAnyOrder) {
  const TemporaryFolder folder;
  const CacheForm form = form_of(CacheDtype::kFloat8, {0, 1, 2, 3, 4, 5, 6});
  const Texts texts = texts_of(4);
  const Shard shard(manifest_of(add_shard(folder.path(), form, texts)), form);
  const auto whole = rows_of(texts[3], form);
  for (const std::vector<int64_t>& planes :
       {std::vector<int64_t>{6}, {2, 3, 4, 6}, {5, 1}, {3, 3}, {6, 5, 4, 3, 2, 1, 0}, {}}) {
    EXPECT_TRUE(same_bytes(read_planes(shard, 3, planes, form), whole.index_select(0, at::tensor(planes, at::kLong))));
  }
  EXPECT_THROW(read_planes(shard, 3, {7}, form), c10::Error);
}

TEST(Shard, PlanesLargerThanOneReadAreReadInPieces) {
  const Texts texts = texts_of(70);
  for (const int64_t width : {4096, 4104}) {  // rows of 16 KiB, and rows that begin anywhere in a cache line
    const TemporaryFolder folder;
    const CacheForm form = form_of(CacheDtype::kFloat32, {1, 2}, width);
    const Shard shard(manifest_of(add_shard(folder.path(), form, {texts[69], texts[31]})), form);
    EXPECT_TRUE(same_bytes(read_planes(shard, 0, {0, 1}, form), rows_of(texts[69], form)));
    EXPECT_TRUE(same_bytes(read_planes(shard, 1, {0, 1}, form), rows_of(texts[31], form)));
    EXPECT_THAT(shard.verify(), IsEmpty());
  }
}

TEST(Shard, AFileThatEndsEarlyIsRefusedAlsoWhereItsRowsAreNotAligned) {
  const TemporaryFolder folder;
  const CacheForm form = form_of(CacheDtype::kFloat32, {1, 2}, 4104);
  const Texts texts = texts_of(30);
  const auto path = add_shard(folder.path(), form, {texts[29]});
  const Shard shard(manifest_of(path), form);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  EXPECT_THAT(message_of<DataError>([&] { read_planes(shard, 0, {0, 1}, form); }), HasSubstr(path.string()));
}

TEST(Shard, IsReadByManyThreadsAtOnce) {
  const TemporaryFolder folder;
  const CacheForm form = form_of();
  const Texts texts = texts_of(20);
  const Shard shard(manifest_of(add_shard(folder.path(), form, texts)), form);
  std::vector<at::Tensor> expected;
  for (const auto& ids : texts) expected.push_back(rows_of(ids, form));
  std::atomic<int> wrong = 0;
  on_eight_threads([&](int64_t thread) {
    for (int64_t i = 0; i < 200; ++i) {
      const int64_t text = (i * 7 + thread) % 20;
      if (!same_bytes(read_planes(shard, text, {0, 1, 2}, form), expected[text])) ++wrong;
    }
  });
  EXPECT_EQ(wrong, 0);
}

TEST(Shard, EqualContentMakesEqualFilesAndAnotherOrderOfWritingDoesNotMatter) {
  const TemporaryFolder one, two;
  const CacheForm form = form_of();
  const Texts texts = texts_of(5);
  const auto path = add_shard(one.path(), form, texts);
  ShardWriter writer(two.path(), form, texts);
  for (int64_t i : {2, 0, 4, 1, 3}) writer.write(i, rows_of(texts[i], form));
  EXPECT_FALSE(std::filesystem::exists(writer.path()));
  writer.commit();
  EXPECT_EQ(writer.path().filename(), path.filename());
  expect_equal_shards(writer.path(), path);
}

TEST(Shard, IsWrittenByManyThreadsAtOnce) {
  const TemporaryFolder one, two;
  const CacheForm form = form_of();
  const Texts texts = texts_of(64);
  const auto path = add_shard(one.path(), form, texts);
  ShardWriter writer(two.path(), form, texts);
  on_eight_threads([&](int64_t thread) {
    for (int64_t text = thread; text < 64; text += 8) writer.write(text, rows_of(texts[text], form));
  });
  writer.commit();
  expect_equal_shards(writer.path(), path);
}

TEST(Shard, WithoutCommitNothingIsLeft) {
  const TemporaryFolder folder;
  const CacheForm form = form_of();
  {
    ShardWriter writer(folder.path(), form, texts_of(3));
    writer.write(0, rows_of(texts_of(3)[0], form));
    EXPECT_THROW(writer.commit(), c10::Error);  // two texts are missing
  }
  EXPECT_TRUE(folder.empty());
}

TEST(Shard, IsReplacedByOneOfTheSameTexts) {
  const TemporaryFolder folder;
  const CacheForm form = form_of();
  const Texts texts = texts_of(2);
  const auto path = add_shard(folder.path(), form, texts);
  ShardWriter writer(folder.path(), form, texts);
  for (int64_t i = 0; i < 2; ++i) writer.write(i, at::zeros_like(rows_of(texts[i], form)));
  writer.commit();
  const Shard shard(manifest_of(path), form);
  EXPECT_EQ(read_planes(shard, 1, {0, 1, 2}, form).sum().item<int64_t>(), 0);
}

TEST(Shard, WrongTextsAndRowsAreRefused) {
  const TemporaryFolder folder;
  const CacheForm form = form_of();
  const auto message = [&](const Texts& texts) {
    return message_of<DataError>([&] { ShardWriter(folder.path(), form, texts); });
  };
  EXPECT_THAT(message({}), HasSubstr("at least one text"));
  EXPECT_THAT(message({{1}, {}}), HasSubstr("text 1 of a shard has no tokens"));
  EXPECT_THAT(message({{1, 2}, {3}, {1, 2}}), AllOf(HasSubstr("text 2"), HasSubstr("is there twice")));
  ShardWriter writer(folder.path(), form, {{1, 2}});
  EXPECT_THROW(writer.write(1, rows_of({1, 2}, form)), c10::Error);
  EXPECT_THROW(writer.write(0, rows_of({1}, form)), c10::Error);
  EXPECT_THROW(writer.write(0, states_of({1, 2}, form)), c10::Error);
  writer.write(0, rows_of({1, 2}, form));
  EXPECT_THROW(writer.write(0, rows_of({1, 2}, form)), c10::Error);
}

TEST(Shard, AFolderThatIsNotThereIsAnIoError) {
  EXPECT_THAT(message_of<checkpoints_tools::IoError>([&] { ShardWriter("/nowhere", form_of(), {{1}}); }),
              AllOf(HasSubstr("/nowhere/shard-"), HasSubstr("No such file or directory")));
}

TEST(Shard, AFileThatHasGoneOrBecomeShorterIsNamed) {
  const TemporaryFolder folder;
  const CacheForm form = form_of();
  const auto path = add_shard(folder.path(), form, texts_of(3));
  const Shard shard(manifest_of(path), form);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  EXPECT_THAT(message_of<DataError>([&] { read_planes(shard, 0, {0}, form); }),
              AllOf(HasSubstr(path.string()), HasSubstr("its manifest says"), HasSubstr("layalign-cache build")));
  std::filesystem::remove(path);
  EXPECT_THAT(message_of<DataError>([&] { read_planes(shard, 0, {0}, form); }),
              AllOf(HasSubstr(path.string()), HasSubstr("cannot be opened: No such file or directory")));
}

TEST(Shard, ADamagedStateIsNamedWithTextLayerAndBytes) {
  const TemporaryFolder folder;
  const CacheForm form = form_of();
  const Texts texts = texts_of(3);
  const auto path = add_shard(folder.path(), form, texts);
  const Shard shard(manifest_of(path), form);
  std::string bytes = read_bytes(path);
  const auto begin = shard.block_offset(2) + 1 * 3 * form.row_bytes();  // plane 1, which is layer 2
  bytes[begin + 5] ^= 1;
  write_bytes(path, bytes);
  const std::string message = message_of<DataError>([&] { read_planes(shard, 2, {0, 1, 2}, form); });
  EXPECT_THAT(message,
              AllOf(HasSubstr(path.string()), HasSubstr("layer 2 of the text " + to_string(cache_key(texts[2]))),
                    HasSubstr("bytes " + std::to_string(begin) + " to " + std::to_string(begin + 3 * form.row_bytes())),
                    HasSubstr("delete " + path.filename().string() + " and " + manifest_of(path).filename().string())));
  EXPECT_TRUE(
      same_bytes(read_planes(shard, 2, {0, 2}, form), rows_of(texts[2], form).index_select(0, at::tensor({0, 2}))));
  EXPECT_THAT(shard.verify(), AllOf(SizeIs(1), testing::Contains(HasSubstr("layer 2"))));
}

}  // namespace
}  // namespace layalign::data
