// No room on the disk, or a disk that fails, at every file operation of a shard's writer.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <set>

#include "checkpoints_tools/error.h"
#include "checkpoints_tools/file_operations.h"
#include "data/activation_cache/shard_layout.h"
#include "tests/fault/fault_cache.h"

namespace layalign::data {
namespace {

namespace fs = std::filesystem;
using checkpoints_tools::IoError;
using testing::AllOf;
using testing::HasSubstr;

std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename());
  return names;
}

TEST(CacheFullDisk, AnErrorAtEveryOperationIsReportedAndLeavesTheFinishedShards) {
  const CacheForm form = fault_form();
  for (int error : {ENOSPC, EIO}) {
    int64_t number = 1;
    for (;; ++number) {
      const TemporaryFolder folder;
      ActivationCache::create(folder.path(), form);
      add_shard(folder.path(), form, fault_shards()[0]);
      const auto before = names_in(folder.path());

      checkpoints_tools::set_file_hook(checkpoints_tools::fail_at(number, error));
      const std::string message = message_of<IoError>([&] { add_shard(folder.path(), form, fault_shards()[1]); });
      const int64_t operations = checkpoints_tools::file_operation_count();
      checkpoints_tools::set_file_hook({});
      if (operations < number) break;  // it has fewer operations
      EXPECT_THAT(message, AllOf(HasSubstr(folder.path().string() + "/shard-"), HasSubstr(std::strerror(error))))
          << number;

      EXPECT_EQ(names_in(folder.path()), before) << number;
      int found = 0;
      EXPECT_EQ(wrong_texts(ActivationCache(folder.path(), form), form, &found), "") << number;
      EXPECT_EQ(found, 3) << number;
    }
    EXPECT_GE(number, 15);
  }
}

TEST(CacheFullDisk, ShortWritesLoseNothing) {
  const CacheForm form = fault_form();
  for (int64_t number = 1; number <= 20; ++number) {
    const TemporaryFolder folder;
    ActivationCache::create(folder.path(), form);
    checkpoints_tools::set_file_hook(checkpoints_tools::short_write_at(number));
    add_shard(folder.path(), form, fault_shards()[0]);
    checkpoints_tools::set_file_hook({});
    int found = 0;
    EXPECT_EQ(wrong_texts(ActivationCache(folder.path(), form), form, &found), "") << number;
    EXPECT_EQ(found, 3);
  }
}

#ifdef LAYALIGN_SMALL_DISK
/// A file system of 1 MiB in memory.
class SmallDisk {
 public:
  SmallDisk() {
    run("mount -t tmpfs -o size=1m layalign-test '" + path().string() + "'");
    mounted_ = true;
  }
  SmallDisk(const SmallDisk&) = delete;
  ~SmallDisk() {
    if (mounted_) run("umount --lazy '" + path().string() + "'");  // the thread that read from it last still has a file open
  }
  const fs::path& path() const { return folder_.path(); }

 private:
  static void run(const std::string& command) {
    if (std::system(command.c_str()) != 0) throw std::runtime_error(command + " failed");
  }
  TemporaryFolder folder_;
  bool mounted_ = false;
};

TEST(CacheFullDisk, ADiskThatIsFullAtAnyPageIsReportedWithPathAndBytes) {
  const SmallDisk disk;
  const CacheForm form = fault_form();
  const fs::path folder = disk.path() / "cache";
  ActivationCache::create(folder, form);
  add_shard(folder, form, fault_shards()[0]);
  int failures = 0;
  bool fitted = false;
  for (int free_pages = 0; !fitted; ++free_pages) {
    ASSERT_LT(free_pages, 100);
    const uintmax_t free_bytes = fs::space(disk.path()).available;
    const fs::path ballast = disk.path() / "ballast";
    write_bytes(ballast, std::string(free_bytes - static_cast<uintmax_t>(free_pages) * 4096, 'x'));
    const std::string message = message_of<IoError>([&] { add_shard(folder, form, fault_shards()[1]); });
    fs::remove(ballast);
    fitted = message.empty();
    failures += !fitted;
    if (!fitted) {
      EXPECT_THAT(message, AllOf(HasSubstr(folder.string() + "/shard-"), HasSubstr("No space left on device"),
                                 HasSubstr(" bytes needed, "), HasSubstr(" free")));
    }
    int found = 0;
    EXPECT_EQ(wrong_texts(ActivationCache(folder, form), form, &found), "") << free_pages;
    EXPECT_EQ(found, fitted ? 6 : 3) << free_pages;
  }
  EXPECT_GE(failures, 3);
}
#endif

}  // namespace
}  // namespace layalign::data
