// layalign-cache build of several ranks, killed at its changes of files: the same command goes on, and the cache is that of a build
// that nothing has happened to.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "tests/cli/cache_run.h"

namespace layalign::test {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

constexpr int kKilled = 137;  // the shell's name for the end by SIGKILL
constexpr int kRanks = 2, kTexts = 12, kTokens = 102;
constexpr size_t kShards = 5;

class CacheCrash : public CacheRun {
 protected:
  void SetUp() override {
    CacheRun::SetUp();
    std::string corpus;  // of texts of 3 to 14 tokens
    for (int i = 0; i < kTexts; ++i) {
      std::string ids = "5, ";
      for (int j = 0; j <= i; ++j) ids += std::to_string(10 + i + j) + ", ";
      corpus += "{\"source\": [" + ids + "1], \"prompt\": [7, 8], \"target\": [30, 2]}\n";
    }
    folder.write("corpus.jsonl", corpus);
    ASSERT_EQ(build("whole", "").code, 0);
    ASSERT_EQ(shards("whole").size(), 2 * kShards) << "an .h5 and a .json each";
  }

  /// Into a folder of its own. `fault`: KIND:N of LAYALIGN_FILE_FAULT, which each rank counts for itself; empty: none.
  Outcome build(const std::string& name, const std::string& fault) const {
    const std::string variable = fault.empty() ? "" : "export LAYALIGN_FILE_FAULT=" + fault + "; ";
    const std::string more = " --set cache.shard_bytes=16KiB --set cache.path=" + folder.path(name).string();
    return run_command(variable + program_command("layalign-cache", kRanks, "build " + config + more));
  }

  /// The files of finished shards.
  std::map<std::string, std::string> shards(const std::string& name) const {
    std::map<std::string, std::string> content;
    for (const fs::path& path : shard_files(name)) {
      if (is_finished(path)) content[path.filename().string()] = read_file(path);
    }
    return content;
  }
  /// Shards that were begun and are not finished: what a kill has cost.
  int64_t lost_shards(const std::string& name) const {
    return std::ranges::count_if(shard_files(name), [](const fs::path& path) {
      const auto text = path.filename().string();  // a manifest on its way belongs to an .h5 that is counted
      return !is_finished(path) && text.find(".json") == std::string::npos;
    });
  }

  /// The command again, to the end.
  void expect_goes_on(const std::string& name) const {
    const auto whole = shards("whole");
    int64_t texts = 0, tokens = 0;
    for (const auto& [file, content] : shards(name)) {
      EXPECT_EQ(content, whole.at(file)) << file;
      if (!file.ends_with(".json")) continue;
      const auto manifest = nlohmann::json::parse(content);
      texts += manifest.at("texts").get<int64_t>();
      tokens += manifest.at("tokens").get<int64_t>();
    }
    EXPECT_LE(lost_shards(name), kRanks) << "one a rank at most";
    const auto again = build(name, "");
    ASSERT_EQ(again.code, 0) << again.output;
    EXPECT_THAT(again.output, HasSubstr("\n" + std::to_string(texts) + " of them are cached; " + std::to_string(kTokens - tokens) +
                                        " tokens are to be encoded"));
    EXPECT_EQ(shards(name), whole);
    EXPECT_EQ(shard_files(name).size(), whole.size()) << "nothing unfinished is left";
    EXPECT_EQ(program(1, "verify " + folder.path(name).string()).code, 0);
  }

  /// Kills at every `stride`-th change of a file of a rank; at all of them with LAYALIGN_FAULT_FACTOR. Returns how many there are, and
  /// notes in `found` how many shards were finished after the kills.
  int64_t at_every_change(const std::string& kind, int64_t stride, std::set<int64_t>* found) const {
    if (std::getenv("LAYALIGN_FAULT_FACTOR") != nullptr) stride = 1;
    for (int64_t number = 1;; number += stride) {
      SCOPED_TRACE(kind + ":" + std::to_string(number));
      const auto outcome = build("killed", kind + ":" + std::to_string(number));
      if (outcome.code == 0) return number;
      EXPECT_EQ(outcome.code, kKilled) << outcome.output;
      found->insert(static_cast<int64_t>(shards("killed").size()) / 2);
      expect_goes_on("killed");
      if (HasFatalFailure()) return number;
      fs::remove_all(folder.path("killed"));
    }
  }

 private:
  std::vector<fs::path> shard_files(const std::string& name) const {
    std::vector<fs::path> files;
    if (!fs::exists(folder.path(name))) return files;
    for (const auto& entry : fs::directory_iterator(folder.path(name))) {
      if (entry.path().filename().string().starts_with("shard-")) files.push_back(entry.path());
    }
    return files;
  }
  static bool is_finished(const fs::path& path) {
    fs::path h5 = path, manifest = path;
    h5.replace_extension(".h5"), manifest.replace_extension(".json");
    return path.extension() != ".tmp" && fs::exists(h5) && fs::exists(manifest);
  }
};

TEST_F(CacheCrash, KilledAtAnyChangeOfAFileABuildOfTwoRanksGoesOn) {
  std::set<int64_t> found;
  EXPECT_GT(at_every_change("kill", 7, &found), 40);
  EXPECT_GE(found.size(), 3u) << "kills between the shards, too";
}

TEST_F(CacheCrash, KilledHalfwayThroughAnyWriteABuildOfTwoRanksGoesOn) {
  std::set<int64_t> found;
  EXPECT_GT(at_every_change("half", 19, &found), 40);
}

}  // namespace
}  // namespace layalign::test
