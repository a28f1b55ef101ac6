#include "checkpoints_tools/atomic_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>

#include "checkpoints_tools/safetensors.h"
#include "tests/unit/checkpoints_tools/temporary_folder.h"

namespace layalign::checkpoints_tools {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

/// Makes writes behind `bytes` fail with "File too large", as a full disk makes them fail with "No space left".
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit{bytes, old_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit old_{};
  void (*handler_)(int);
};

TEST(AtomicFile, AppearsOnlyWhenCommitted) {
  const TemporaryFolder folder;
  const auto path = folder / "state.json";
  {
    AtomicFile file(path);
    file.write("first ");
    file.write("half");
    EXPECT_FALSE(std::filesystem::exists(path));
    file.commit();
    EXPECT_EQ(read_bytes(path), "first half");
  }
  EXPECT_EQ(read_bytes(path), "first half");
  EXPECT_FALSE(std::filesystem::exists(folder / "state.json.tmp"));
}

TEST(AtomicFile, AbandonedWriteKeepsTheOldFile) {
  const TemporaryFolder folder;
  const auto path = write_bytes(folder / "a", "old");
  { AtomicFile(path).write("new"); }
  EXPECT_EQ(read_bytes(path), "old");
  EXPECT_FALSE(std::filesystem::exists(folder / "a.tmp"));
}

TEST(AtomicFile, LeftoverOfAKilledWriterIsReplacedNotFollowed) {
  const TemporaryFolder folder;
  write_bytes(folder / "elsewhere", "untouched");
  std::filesystem::create_symlink(folder / "elsewhere", folder / "a.tmp");
  AtomicFile file(folder / "a");
  file.write("new");
  file.commit();
  EXPECT_EQ(read_bytes(folder / "a"), "new");
  EXPECT_EQ(read_bytes(folder / "elsewhere"), "untouched");
  EXPECT_FALSE(std::filesystem::exists(std::filesystem::symlink_status(folder / "a.tmp")));
}

TEST(AtomicFile, FullDiskIsReportedAndLeavesTheOldFile) {
  const TemporaryFolder folder;
  const auto path = folder / "a.safetensors";
  write_safetensors(path, {{"old", at::ones({4})}});
  std::string message;
  {
    const FileSizeLimit limit(100'000);  // in the middle of the tensor: a short write comes first, then the error
    message = message_of<CheckpointError>([&] { write_safetensors(path, {{"new", at::ones({100'000})}}); });
  }
  EXPECT_THAT(message,
              AllOf(StartsWith(path.string() + ": cannot write it: File too large"), HasSubstr("free some space")));
  EXPECT_TRUE(SafetensorsFile(path).contains("old"));
  EXPECT_FALSE(std::filesystem::exists(folder / "a.safetensors.tmp"));
}

TEST(AtomicFile, MissingFolderIsReported) {
  const TemporaryFolder folder;
  const auto path = folder / "absent" / "a";
  EXPECT_THAT(message_of<CheckpointError>([&] { AtomicFile{path}; }),
              AllOf(StartsWith(path.string() + ": cannot create it: No such file or directory"),
                    HasSubstr("check the folder")));
  EXPECT_TRUE(folder.empty());
}

TEST(AtomicFile, FailedRenameIsReportedAndLeavesNothing) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "a");
  AtomicFile file(folder / "a");
  EXPECT_THAT(message_of<CheckpointError>([&] { file.commit(); }),
              HasSubstr("cannot rename its temporary file: Is a directory"));
  EXPECT_TRUE(std::filesystem::is_directory(folder / "a"));
}

}  // namespace
}  // namespace layalign::checkpoints_tools
