#include "checkpoints_tools/file_operations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "checkpoints_tools/atomic_file.h"
#include "checkpoints_tools/error.h"
#include "tests/unit/checkpoints_tools/temporary_folder.h"

namespace layalign::checkpoints_tools {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

/// A hook that is gone with its scope.
struct Hooked {
  explicit Hooked(FileHook hook) { set_file_hook(std::move(hook)); }
  ~Hooked() { set_file_hook({}); }
};

void write_state(const std::filesystem::path& path, const std::string& text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

TEST(FileOperations, AnAtomicFileIsSevenNumberedOperations) {
  const TemporaryFolder folder;
  std::vector<FileOperation> log;
  const Hooked hook(record_into(log));
  write_state(folder / "a", "12345");
  EXPECT_EQ(file_operation_count(), 7);
  std::vector<std::string_view> names;
  for (size_t i = 0; i < log.size(); ++i) {
    EXPECT_EQ(log[i].number, static_cast<int64_t>(i) + 1);
    names.push_back(name_of(log[i].action));
  }
  EXPECT_THAT(names, ElementsAre("remove", "create", "write", "flush", "close", "rename", "flush folder"));
  EXPECT_EQ(log[2].bytes, 5);
  EXPECT_EQ(log[2].path, folder / "a.tmp");
  EXPECT_EQ(log[5].path, folder / "a");
  EXPECT_EQ(log[5].other, folder / "a.tmp");
}

TEST(FileOperations, AFileIsContinuedAtItsEnd) {
  const TemporaryFolder folder;
  const auto path = folder / "lines";
  std::vector<std::string> log;
  const Hooked hook([&log](const FileOperation& operation) {
    const std::string content(reinterpret_cast<const char*>(operation.content.data()), operation.content.size());
    log.push_back(std::string(name_of(operation.action)) + " " + content + std::to_string(operation.offset));
    return FileFault{};
  });
  for (const std::string line : {"one\n", "two\n"}) {
    auto file = FileWriter::append(path);
    file.write(std::as_bytes(std::span(line)));
    file.flush();
  }
  EXPECT_EQ(read_bytes(path), "one\ntwo\n");
  // The name of a new file is made durable.
  EXPECT_THAT(log,
              ElementsAre("open 0", "flush folder 0", "write one\n0", "flush 0", "open 0", "write two\n4", "flush 0"));
}

TEST(FileOperations, FoldersAreMadeExchangedAndRemoved) {
  const TemporaryFolder folder;
  std::vector<FileOperation> log;
  const Hooked hook(record_into(log));
  const auto one = folder / "a/one", two = folder / "a/two";
  make_folder(one);
  make_folder(one);
  make_folder(two);
  write_bytes(one / "x", "1");
  write_bytes(two / "x", "2");
  ASSERT_TRUE(exchange_names(one, two));
  EXPECT_EQ(read_bytes(one / "x"), "2");
  remove_folder(folder / "a");
  EXPECT_FALSE(std::filesystem::exists(folder / "a"));
  remove_folder(folder / "a");  // is not there: no error
  std::vector<std::string_view> names;
  for (const auto& operation : log) names.push_back(name_of(operation.action));
  EXPECT_THAT(names,
              ElementsAre("make folder", "flush folder", "make folder", "flush folder", "make folder", "flush folder",
                          "exchange", "remove", "remove folder", "remove", "remove folder", "remove folder", "remove"));
  EXPECT_EQ(log[0].path, folder / "a");  // each of those above it, and where its name stands
  EXPECT_EQ(log[1].path, folder.path());
  EXPECT_EQ(log[3].path, folder / "a");
  EXPECT_THAT(message_of<IoError>([&] { make_folder(write_bytes(folder / "file", "") / "b"); }), HasSubstr("cannot make the folder"));
  EXPECT_THAT(message_of<IoError>([&] { exchange_names(folder / "file", folder / "missing"); }), HasSubstr("missing"));
}

TEST(FileOperations, NamesAreNotExchangedWhereTheFileSystemCannot) {
  const TemporaryFolder folder;
  write_bytes(folder / "one", "1");
  write_bytes(folder / "two", "2");
  const auto exchange = [&] { return exchange_names(folder / "one", folder / "two"); };
  {
    const Hooked hook(fail_at(1, EINVAL));
    EXPECT_FALSE(exchange());
  }
  const Hooked hook(fail_at(1, EIO));
  EXPECT_THAT(message_of<IoError>(exchange), HasSubstr("Input/output error"));
  EXPECT_EQ(read_bytes(folder / "one"), "1");
}

TEST(FileOperations, EveryOperationThatFailsIsReportedAndKeepsTheOldFile) {
  for (int64_t number = 1; number <= 7; ++number) {
    const TemporaryFolder folder;
    const auto path = write_bytes(folder / "a", "old");
    std::string message;
    {
      const Hooked hook(fail_at(number, EIO));
      message = message_of<CheckpointError>([&] { write_state(path, "new"); });
    }
    EXPECT_THAT(message, AllOf(StartsWith(path.string() + ": cannot "), HasSubstr("Input/output error"))) << number;
    EXPECT_EQ(read_bytes(path), number < 7 ? "old" : "new");  // the rename has been done, but may not be durable
    EXPECT_FALSE(std::filesystem::exists(folder / "a.tmp"));
  }
}

TEST(FileOperations, AFullDiskIsReportedWithTheBytesNeededAndFree) {
  const TemporaryFolder folder;
  const Hooked hook(fail_at(3, ENOSPC));
  EXPECT_THAT(message_of<CheckpointError>([&] { write_state(folder / "a", "12345"); }),
              AllOf(HasSubstr("No space left on device (5 bytes needed, "), HasSubstr(" free); free some space")));
}

TEST(FileOperations, AShortWriteIsNoError) {
  const TemporaryFolder folder;
  const Hooked hook(short_write_at(3));
  write_state(folder / "a", "12345");
  EXPECT_EQ(read_bytes(folder / "a"), "12345");
}

TEST(FileOperations, BytesGoToTheirOffsets) {
  const TemporaryFolder folder;
  FileWriter file = FileWriter::create(folder / "a", folder / "a");
  file.allocate(8);
  file.write_at(5, std::as_bytes(std::span("xyz", 3)));
  file.write(std::as_bytes(std::span("abc", 3)));
  file.write(std::as_bytes(std::span("de", 2)));
  file.close();
  EXPECT_EQ(read_bytes(folder / "a"), "abcdexyz");
  FileWriter again = FileWriter::open(folder / "a", folder / "a");
  again.write_at(1, std::as_bytes(std::span("B", 1)));
  again.close();
  EXPECT_EQ(read_bytes(folder / "a"), "aBcdexyz");
}

TEST(FileOperations, AProcessKilledAtAnyOperationLeavesTheOldFileOrTheNew) {
  for (bool halfway : {false, true}) {
    for (int64_t number = 1; number <= 8; ++number) {
      const TemporaryFolder folder;
      const auto path = write_bytes(folder / "a", "old");
      const pid_t child = ::fork();
      if (child == 0) {
        set_file_hook(kill_at(number, halfway));
        write_state(path, "the new content");
        ::_exit(0);
      }
      int status = 0;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      EXPECT_EQ(WIFSIGNALED(status) ? WTERMSIG(status) : 0, number <= 7 ? SIGKILL : 0);
      EXPECT_EQ(read_bytes(path), number <= 6 ? "old" : "the new content") << number;
      const std::string expected_tmp = number == 3 ? (halfway ? "the new" : "") : "the new content";
      if (number >= 3 && number <= 6) {
        EXPECT_EQ(read_bytes(folder / "a.tmp"), expected_tmp) << number;
      }
    }
  }
}

}  // namespace
}  // namespace layalign::checkpoints_tools
