// A process that writes an activation cache is killed at every one of its file operations.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <set>

#include "data/activation_cache/shard_layout.h"
#include "tests/fault/fault_cache.h"

extern char** environ;

namespace layalign::data {
namespace {

namespace fs = std::filesystem;

/// Runs write_shards to its end or death; the signal that ended it, 0: none.
int write_shards(const fs::path& folder, int64_t number, bool half) {
  std::string program = LAYALIGN_WRITE_SHARDS, path = folder.string(), at = std::to_string(number), how = "half";
  std::vector<char*> arguments = {program.data(), path.data(), at.data()};
  if (half) arguments.push_back(how.data());
  arguments.push_back(nullptr);
  pid_t child = 0;
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  const int error = ::posix_spawn(&child, program.c_str(), &actions, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) throw std::runtime_error("cannot start " + program);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) != 0) throw std::runtime_error(program + " failed");
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/// Files of a folder that are no part of a whole cache.
std::set<std::string> strangers_in(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const fs::path& path = entry.path();
    const std::string name = path.filename().string();
    const bool known = name == ".lock" || name == ".publication" || name == "cache.json" ||
                       (path.extension() == ".h5" && fs::exists(manifest_of(path))) ||
                       (path.extension() == ".json" && fs::exists(shard_of(path)));
    if (!known) names.insert(name);
  }
  return names;
}

class CacheKilled : public testing::TestWithParam<bool> {};

TEST_P(CacheKilled, AtEveryOperationLeavesWholeShardsAndGoesOn) {
  const CacheForm form = fault_form();
  int64_t number = 1;
  std::set<int> counts;  // texts found after a kill
  for (;; ++number) {
    const TemporaryFolder folder;
    const int signal = write_shards(folder.path(), number, GetParam());
    if (signal == 0) break;  // it has fewer operations
    ASSERT_EQ(signal, SIGKILL);

    ActivationCache::create(folder.path(), form);  // the lock has gone with the process
    EXPECT_EQ(strangers_in(folder.path()), std::set<std::string>()) << number;
    int found = 0;
    const ActivationCache cache(folder.path(), form);
    EXPECT_EQ(wrong_texts(cache, form, &found), "") << number;
    EXPECT_EQ(found % 3, 0) << number;  // whole shards
    counts.insert(found);
    for (const auto& shard : cache.shards()) EXPECT_THAT(shard->verify(), testing::IsEmpty()) << number;

    ASSERT_EQ(write_shards(folder.path(), 0, false), 0);  // started again, it ends
    found = 0;
    EXPECT_EQ(wrong_texts(ActivationCache(folder.path(), form), form, &found), "") << number;
    EXPECT_EQ(found, 6) << number;
  }
  EXPECT_EQ(counts, (std::set<int>{0, 3, 6}));
  EXPECT_GE(number, 40);  // every write point, and not fewer than there were when this was written
}

INSTANTIATE_TEST_SUITE_P(BeforeAndHalfway, CacheKilled, testing::Bool());

}  // namespace
}  // namespace layalign::data
