// Caches on disks that are too small or read-only, of other users, and under HDF5's settings for locks: the real programs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>

#include "tests/cli/cache_run.h"

namespace layalign::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;

class CachePlace : public CacheRun {
 protected:
  /// Names, kinds, sizes, owners, permissions and times of all that lies in the cache.
  std::string state_of_cache() const {
    return run_command("cd " + cache().string() + " && find . -printf '%p %y %s %U %m %T@\\n' | sort").output;
  }
  std::string build(int ranks, const std::string& more = "") const {
    return program_command("layalign-cache", ranks, "build " + config + " " + more);
  }
  std::string verify() const { return program_command("layalign-cache", 1, "verify " + cache().string()); }
  std::string training_command(int ranks, const std::string& name, const std::string& more) const {
    return program_command("layalign-train", ranks, training(name, more + " --set parallel.tensor=" + std::to_string(ranks)));
  }
};

TEST_F(CachePlace, IsReadUnderEverySettingOfHdf5sLocksAndLeavesNone) {
  ASSERT_EQ(program(1, "build " + config).code, 0);
  ASSERT_EQ(trained("first", "--set cache.mode=read").code, 0);
  const auto before = state_of_cache();
  for (const std::string setting : {"TRUE", "FALSE", "BEST_EFFORT"}) {
    SCOPED_TRACE(setting);
    const std::string with = "export HDF5_USE_FILE_LOCKING=" + setting + "; ";
    // Two readers at once, one of them of two ranks.
    const auto read = run_command(with + "(" + training_command(2, "two-" + setting, "--set cache.mode=read") + ") & other=$!; (" +
                                  training_command(1, "one-" + setting, "--set cache.mode=read") + ") && wait $other");
    ASSERT_EQ(read.code, 0) << read.output;
    EXPECT_EQ(losses("one-" + setting), losses("first"));
    expect_like("first", "two-" + setting);
    EXPECT_EQ(run_command(with + verify()).code, 0);
    EXPECT_EQ(state_of_cache(), before);
    const auto locks = run_command("cd " + cache().string() + " && for file in * .[!.]*; do flock -n $file true || echo $file; done");
    EXPECT_EQ(locks.output, "") << "still locked";

    const auto built = folder.path("built-" + setting);
    ASSERT_EQ(run_command(with + build(2, "--set cache.path=" + built.string())).code, 0);
    for (const auto& entry : fs::directory_iterator(cache())) {
      if (entry.path().extension() != ".h5") continue;
      EXPECT_EQ(read_file(built / entry.path().filename()), read_file(entry.path())) << entry.path();
    }
  }
}

#ifdef LAYALIGN_OWN_MOUNTS
/// Runs a shell's lines where they may mount; what they mount is gone with them.
Outcome run_with_mounts(const WorkFolder& folder, const std::string& lines) {
  return run_command(LAYALIGN_OWN_MOUNTS " sh -e " + folder.write("lines.sh", lines).string());
}

/// The numbers that a build names when the disk has no room for it.
struct Room {
  int64_t needed_bytes = 0, free_bytes = 0;
};

Room room_in(const std::string& output) {
  std::smatch found;
  if (!std::regex_search(output, found, std::regex("would need (\\d+) bytes more .* but (\\d+) are free"))) {
    throw std::runtime_error("no bytes needed and free in: " + output);
  }
  return {std::stoll(found[1]), std::stoll(found[2])};
}

class SmallDisk : public CachePlace {
 protected:
  /// A build on a disk of its own, which holds `ballast_bytes` already. The last line lists what lies there in the end.
  Outcome built(int ranks, int64_t disk_bytes, int64_t ballast_bytes = 0) const {
    const std::string place = cache().string();
    std::string lines = "mkdir -p " + place + "\nmount -t tmpfs -o size=" + std::to_string(disk_bytes) + " layalign-test " + place + "\n";
    lines += "head -c " + std::to_string(ballast_bytes) + " /dev/zero >" + place + "/ballast\n";
    lines += "code=0\n(" + build(ranks) + ") || code=$?\n[ $code != 0 ] || (" + verify() + ") || code=$?\n";
    lines += "ls -A " + place + " | sort | tr '\\n' ' '\nexit $code\n";
    return run_with_mounts(folder, lines);
  }
};

TEST_F(SmallDisk, ABuildThatDoesNotFitIsRefusedBeforeItsFirstByte) {
  constexpr int64_t kPage = 4096, kDisk = 16 * kPage;
  Room room;
  for (const int ranks : {1, 2}) {
    const auto refused = built(ranks, kDisk);
    EXPECT_EQ(refused.code, 74) << refused.output;
    EXPECT_THAT(refused.output, AllOf(HasSubstr(cache().string() + ": the cache would need "), HasSubstr("no states were written"),
                                      HasSubstr("cache.dtype bfloat16")));
    EXPECT_THAT(refused.output, testing::EndsWith("\n.lock ballast weights.json ")) << "neither states nor cache.json";
    room = room_in(refused.output);
    EXPECT_EQ(room.free_bytes, kDisk - 2 * kPage);  // the lock's holder, the hash of the weights
    EXPECT_GT(room.needed_bytes, room.free_bytes);
  }
  const auto full = built(1, kDisk, kDisk);  // not even room for the lock's holder
  EXPECT_EQ(full.code, 74) << full.output;
  EXPECT_EQ(room_in(full.output).free_bytes, 0);
  EXPECT_THAT(full.output, testing::EndsWith("\n.lock ballast "));

  // Where there is just the room that it asks for it is enough, and no page less will do.
  const int64_t enough = (room.needed_bytes + kPage - 1) / kPage * kPage + 2 * kPage;
  const auto short_of_a_page = built(1, enough - kPage);
  EXPECT_EQ(short_of_a_page.code, 74) << short_of_a_page.output;
  const auto fits = built(2, enough);
  EXPECT_EQ(fits.code, 0) << fits.output;
  EXPECT_THAT(fits.output, HasSubstr("every byte is as it was written"));
}

TEST_F(CachePlace, OnAReadOnlyFileSystemIsReadAndNotWritten) {
  ASSERT_EQ(program(1, "build " + config).code, 0);
  ASSERT_EQ(trained("first", "--set cache.mode=read").code, 0);
  const auto before = state_of_cache();
  const std::string place = cache().string();
  const auto on_read_only = [&](const std::string& command) {
    return run_with_mounts(folder, "mount --bind " + place + " " + place + "\nmount -o remount,bind,ro " + place + "\n" + command + "\n");
  };
  const auto one = on_read_only(training_command(1, "one", "--set cache.mode=read"));
  ASSERT_EQ(one.code, 0) << one.output;
  EXPECT_EQ(losses("one"), losses("first"));
  const auto two = on_read_only(training_command(2, "two", "--set cache.mode=read"));
  ASSERT_EQ(two.code, 0) << two.output;
  expect_like("first", "two");
  // Weights whose hash is not remembered there: it is computed, and cannot be kept.
  const auto copy = folder.copy_model("mt5");
  const auto copied = on_read_only(training_command(1, "copied", "--set cache.mode=read --set model.encoder=" + copy.string()));
  ASSERT_EQ(copied.code, 0) << copied.output;
  EXPECT_THAT(copied.output, AllOf(HasSubstr("is not remembered"), HasSubstr("Read-only file system")));
  EXPECT_EQ(losses("copied"), losses("first"));
  EXPECT_EQ(on_read_only(verify()).code, 0);
  for (const auto& command : {build(2), training_command(1, "adds", "--set cache.mode=read_write")}) {
    const auto refused = on_read_only(command);
    EXPECT_EQ(refused.code, 74) << refused.output;
    EXPECT_THAT(refused.output, AllOf(HasSubstr(place + "/.lock: cannot be opened for writing: Read-only file system"),
                                      HasSubstr("cache.path"), HasSubstr("cache.mode: read")));
  }
  EXPECT_EQ(state_of_cache(), before);
}
#endif

#ifdef LAYALIGN_AS_ANOTHER_USER
class CacheOfAnotherUser : public CachePlace {
 protected:
  void SetUp() override {
    CachePlace::SetUp();
    fs::permissions(folder.path("."), fs::perms::owner_all | fs::perms::others_read | fs::perms::others_exec);
    fs::create_directory(folder.path("theirs"));
    fs::permissions(folder.path("theirs"), fs::perms::all);
    ASSERT_EQ(run_command("umask 022; " + build(1)).code, 0);
  }
  static Outcome as_another(std::string command) {
    return run_command(command.insert(command.find("&& ") + 3, LAYALIGN_AS_ANOTHER_USER " "));
  }
};

TEST_F(CacheOfAnotherUser, IsReadAndNotWritten) {
  ASSERT_EQ(trained("first", "--set cache.mode=read").code, 0);
  const auto before = state_of_cache();
  for (const int ranks : {1, 2}) {
    const std::string name = "theirs/" + std::to_string(ranks);
    const auto read = as_another(training_command(ranks, name, "--set cache.mode=read"));
    ASSERT_EQ(read.code, 0) << read.output;
    expect_like("first", name);
  }
  EXPECT_EQ(as_another(verify()).code, 0);
  const auto refused = as_another(build(2));
  EXPECT_EQ(refused.code, 74) << refused.output;
  EXPECT_THAT(refused.output, AllOf(HasSubstr(cache().string() + "/.lock: cannot be opened for writing: Permission denied"),
                                    HasSubstr("must be allowed to write into its folder"), HasSubstr("cache.mode: read")));
  EXPECT_EQ(state_of_cache(), before);
}

TEST_F(CacheOfAnotherUser, GrowsWhereTheFolderIsOpenToAll) {
  fs::permissions(cache(), fs::perms::all);
  std::ofstream(folder.path("corpus.jsonl"), std::ios::app) << "{\"source\": [5, 99, 1], \"prompt\": [], \"target\": [30, 2]}\n";
  // The files for locks are still those of a folder that was the owner's alone.
  const auto before = state_of_cache();
  const auto refused = as_another(build(1));
  EXPECT_EQ(refused.code, 74) << refused.output;
  EXPECT_THAT(refused.output, AllOf(HasSubstr("it belongs to user 0"), HasSubstr("chmod a+rw " + cache().string() + "/.lock")));
  EXPECT_EQ(state_of_cache(), before);

  fs::permissions(cache() / ".lock", fs::perms::others_write, fs::perm_options::add);
  const std::string command = build(1), binary = command.substr(command.find("&& ") + 3);
  const auto locked = run_command("flock " + cache().string() + "/.lock " LAYALIGN_AS_ANOTHER_USER " " + binary);
  EXPECT_EQ(locked.code, 65) << locked.output;
  EXPECT_THAT(locked.output, HasSubstr("is being written by"));
  const auto grown = as_another(build(2));
  EXPECT_EQ(grown.code, 0) << grown.output;
  EXPECT_THAT(grown.output, HasSubstr("12 of them are cached"));
  ASSERT_EQ(trained("read", "--set cache.mode=read").code, 0);

  // Made in a folder that is open to all, they are so, too, whatever the umask.
  const auto open = folder.path("theirs");
  const std::string there = " --set cache.path=" + open.string();
  ASSERT_EQ(run_command("umask 022; " + build(1, there)).code, 0);
  ASSERT_EQ(trained("more", "--set cache.mode=read" + there).code, 0);
  std::ofstream(folder.path("corpus.jsonl"), std::ios::app) << "{\"source\": [5, 98, 1], \"prompt\": [], \"target\": [30, 2]}\n";
  const auto again = as_another(build(2, there));
  EXPECT_EQ(again.code, 0) << again.output;
  EXPECT_THAT(again.output, Not(HasSubstr("\n0 of them are cached")));
  EXPECT_EQ(program(1, "build " + config + there).code, 0) << "and the first user again";
  EXPECT_EQ(program(1, "verify " + open.string()).code, 0);
}
#endif

}  // namespace
}  // namespace layalign::test
