// layalign-cache and training from a cache: the real programs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <regex>

#include "tests/cli/cache_run.h"

namespace layalign::test {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

class Cache : public CacheRun {
 protected:
  /// Of every shard; a negative offset counts from the end.
  void change_byte(int64_t offset) const {
    for (const auto& entry : fs::directory_iterator(cache())) {
      if (entry.path().extension() != ".h5") continue;
      std::string bytes = read_file(entry.path());
      bytes[offset < 0 ? bytes.size() + offset : offset] ^= 1;
      std::ofstream(entry.path(), std::ios::binary) << bytes;
    }
  }

  /// The choice that cache.mode auto says is that of the smaller of the two figures that it says.
  static void expect_the_faster_way(const std::string& output) {
    std::smatch match;
    const std::regex line("a source token takes ([0-9.]+) us to read and ([0-9.]+) us to compute: from now on states are (\\w+)");
    ASSERT_TRUE(std::regex_search(output, match, line)) << output;
    const double read_us = std::stod(match[1]), compute_us = std::stod(match[2]);
    if (read_us != compute_us) EXPECT_EQ(match[3], read_us < compute_us ? "read" : "computed") << match[0];
  }
};

TEST_F(Cache, IsBuiltDescribedVerifiedAndTrainedFrom) {
  const auto plan = program(1, "build " + config + " --dry-run");
  EXPECT_EQ(plan.code, 0) << plan.output;
  EXPECT_THAT(plan.output, HasSubstr("24 samples with 120 source tokens; 12 different texts with 60 tokens (50.0 % saved)"));
  EXPECT_FALSE(fs::exists(cache()));

  const auto built = program(2, "build " + config + " --set cache.shard_bytes=4KiB");
  ASSERT_EQ(built.code, 0) << built.output;
  const auto again = program(1, "build " + config);
  EXPECT_EQ(again.code, 0) << again.output;
  EXPECT_THAT(again.output, HasSubstr("12 of them are cached; 0 tokens are to be encoded"));
  const auto info = program(1, "info " + cache().string());
  EXPECT_EQ(info.code, 0) << info.output;
  EXPECT_THAT(info.output, HasSubstr("texts               12\n"));
  EXPECT_EQ(program(2, "verify " + cache().string()).code, 0);

  ASSERT_EQ(trained("online", "").code, 0);
  for (const int ranks : {1, 2}) {
    const std::string name = "read-" + std::to_string(ranks);
    const auto outcome = trained(name, "--set cache.mode=read --set parallel.tensor=" + std::to_string(ranks), ranks);
    ASSERT_EQ(outcome.code, 0) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr("0 computed"));
    expect_like_online(name);
  }
  for (const int ranks : {1, 2}) {
    const std::string name = "auto-" + std::to_string(ranks);
    const auto automatic = trained(name, "--set cache.mode=auto", ranks);
    ASSERT_EQ(automatic.code, 0) << automatic.output;
    expect_the_faster_way(automatic.output);
    expect_like_online(name);
  }
}

TEST_F(Cache, IsBuiltOfTheTextsOfAllStagesInOnePass) {
  folder.write("second.jsonl", "{\"source\": [5, 10, 9, 10, 1], \"prompt\": [7], \"target\": [30, 2]}\n"  // of the first corpus
                               "{\"source\": [5, 11, 1], \"prompt\": [7], \"target\": [30, 2]}\n");
  replace_in_file(config, "optimizer:", "  - {name: second, corpus: {format: token_ids, path: second.jsonl}, prompt: true, epochs: 2, "
                                        "global_batch: 2, micro_batch: 2, lr: 1.0e-3}\noptimizer:");
  const auto built = program(2, "build " + config);
  ASSERT_EQ(built.code, 0) << built.output;
  EXPECT_THAT(built.output, HasSubstr("26 samples with 128 source tokens; 13 different texts with 63 tokens"));
  EXPECT_THAT(built.output, testing::ContainsRegex("cache: 100 %  [0-9]+ source tokens/s"));
  const auto outcome = trained("read", "--set cache.mode=read");
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_EQ(losses("read").size(), 16 + 2);
}

TEST_F(Cache, TheEncodersWeightsAreNotNeededWhereEverythingIsCached) {
  const auto encoder = folder.copy_model("mt5");
  const std::string more = " --set model.encoder=" + encoder.string();
  ASSERT_EQ(program(1, "build " + config + more).code, 0);
  ASSERT_EQ(trained("with", "--set cache.mode=read" + more).code, 0);
  fs::remove(encoder / "model.safetensors");
  const auto outcome = trained("without", "--set cache.mode=read" + more);
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("holds no weights"));
  EXPECT_EQ(losses("without"), losses("with"));  // bit for bit
  EXPECT_EQ(trained("computed", "--set cache.mode=read_write" + more).code, 65);
}

TEST_F(Cache, EveryDtypeAndChosenLayersTrainUnderEveryGrid) {
  for (const std::string form : {"--set cache.dtype=bfloat16", "--set cache.dtype=float8",
                                 "--set cache.layers=[0,2] --set model.encoder_layers=[0,2]"}) {
    SCOPED_TRACE(form);
    fs::remove_all(cache());
    ASSERT_EQ(program(2, "build " + config + " " + form).code, 0);
    std::vector<double> first;
    for (const auto& [ranks, tensor] : {std::pair(1, 1), {2, 1}, {2, 2}}) {
      const std::string name = "run-" + std::to_string(ranks) + std::to_string(tensor);
      fs::remove_all(folder.path(name));
      const auto outcome = trained(name, "--set cache.mode=read " + form + " --set parallel.tensor=" + std::to_string(tensor), ranks);
      ASSERT_EQ(outcome.code, 0) << outcome.output;
      if (first.empty()) first = losses(name);
      // All read the same states: what differs is the order of float32 sums, which AdamW amplifies from step to step.
      for (size_t i = 0; i < first.size(); ++i) EXPECT_NEAR(losses(name)[i] / first[i], 1, i == 0 ? 2e-6 : 1e-4) << name << ", step " << i;
    }
  }
}

TEST_F(Cache, ABuildReportsAFullDiskAndKeepsWhatIsFinished) {
  // A limit on the size of a file fails a write as a full disk does; SIGXFSZ is ignored, so that the program sees the error.
  const std::string command = "build " + config + " --set cache.shard_bytes=4KiB";
  const auto full = run_command("trap '' XFSZ; ulimit -f 12; " + program_command("layalign-cache", 1, command));
  EXPECT_EQ(full.code, 74) << full.output;
  EXPECT_THAT(full.output, HasSubstr("shard-"));
  const auto again = program(1, command);
  EXPECT_EQ(again.code, 0) << again.output;
  EXPECT_EQ(program(1, "verify " + cache().string()).code, 0);
}

TEST_F(Cache, AnAutomaticChoiceIsKeptByAResumedRun) {
  ASSERT_EQ(program(1, "build " + config).code, 0);
  const std::string more = "--set cache.mode=auto --set checkpoint.every=10";
  const auto first = trained("auto", more);
  ASSERT_EQ(first.code, 0) << first.output;
  const bool read = first.output.find("from now on states are read") != std::string::npos;
  // As a run looks that was killed after its checkpoint of step 10; the choice was made at step 8.
  const auto output = folder.path("auto");
  fs::remove(output / "summary.json");
  fs::remove(output / "1-only/trainables.safetensors");
  fs::remove_all(output / "1-only/step-00000016");
  const auto resumed = trained("auto", more);
  ASSERT_EQ(resumed.code, 0) << resumed.output;
  EXPECT_THAT(resumed.output, HasSubstr("resuming after step 10"));
  EXPECT_THAT(resumed.output, HasSubstr(std::string("as chosen before, states are ") + (read ? "read" : "computed")));
  EXPECT_THAT(resumed.output, testing::Not(HasSubstr("a source token takes")));
}

TEST_F(Cache, AShardThatVanishesWhileTrainingIsNamed) {
  replace_in_file(config, "epochs: 4", "epochs: 5000");  // it never ends by itself
  for (const int ranks : {1, 2}) {
    ASSERT_EQ(program(1, "build " + config).code, 0);
    const auto output = folder.path("long-" + std::to_string(ranks)).string(), metrics = output + "/metrics.jsonl";
    const auto command = program_command("layalign-train", ranks, config + " --set output=" + output +
                                                                      " --set cache.mode=read --set checkpoint.every=100000 --set seed=1");
    const auto outcome = run_command("(" + command + ") & run=$!; until [ -s " + metrics +
                                     " ] || ! kill -0 $run; do sleep 0.05; done; rm " + cache().string() + "/shard-*.h5; wait $run");
    EXPECT_EQ(outcome.code, 65) << outcome.output;
    EXPECT_THAT(outcome.output, testing::ContainsRegex("corpus.jsonl:[0-9]+"));
    EXPECT_THAT(outcome.output, testing::ContainsRegex(cache().string() + "/shard-[0-9a-f]+[.]h5: cannot be opened: No such file"));
  }
}

TEST_F(Cache, ADamagedFrontIsPassedOverWhereItMayBeComputed) {
  ASSERT_EQ(trained("online", "").code, 0);
  ASSERT_EQ(program(1, "build " + config).code, 0);
  change_byte(100);
  const auto refused = trained("refused", "--set cache.mode=read");
  EXPECT_EQ(refused.code, 65) << refused.output;
  EXPECT_THAT(refused.output, HasSubstr(".h5"));
  const auto computed = trained("computed", "--set cache.mode=auto", 2);
  EXPECT_EQ(computed.code, 0) << computed.output;
  EXPECT_THAT(computed.output, HasSubstr("passed over, its texts are computed"));
  expect_like_online("computed");

  EXPECT_THAT(program(1, "info " + cache().string()).output, HasSubstr("damaged             " + cache().string()));
  const auto verified = program(2, "verify " + cache().string());
  EXPECT_EQ(verified.code, 65);
  EXPECT_THAT(verified.output, HasSubstr(".h5"));
  const auto rebuilt = program(2, "build " + config);
  EXPECT_EQ(rebuilt.code, 0) << rebuilt.output;
  EXPECT_THAT(rebuilt.output, HasSubstr("to be encoded anew"));
  EXPECT_EQ(program(2, "verify " + cache().string()).code, 0);
}

TEST_F(Cache, ADamagedBlockIsComputedAndAddedAgain) {
  ASSERT_EQ(trained("online", "").code, 0);
  ASSERT_EQ(program(1, "build " + config).code, 0);
  change_byte(-5);
  const auto refused = trained("refused", "--set cache.mode=read");
  EXPECT_EQ(refused.code, 65) << refused.output;
  EXPECT_THAT(refused.output, HasSubstr("are not those that were written"));
  const auto mended = trained("mended", "--set cache.mode=read_write");
  EXPECT_EQ(mended.code, 0) << mended.output;
  EXPECT_THAT(mended.output, HasSubstr("could not be read and were computed again"));
  EXPECT_THAT(mended.output, HasSubstr(", 1 added"));
  expect_like_online("mended");
  EXPECT_EQ(trained("read", "--set cache.mode=read").code, 0) << "the newer states count";
}

TEST_F(Cache, OneWriterAtATime) {
  const auto metrics = (folder.path("writer") / "metrics.jsonl").string();
  auto command = program_command("layalign-train", 1, config + " --set output=" + folder.path("writer").string() +
                                                           " --set cache.mode=read_write --set stop_after=60s");
  command.insert(command.find("&& ") + 3, "exec ");
  replace_in_file(config, "epochs: 4", "epochs: 50000");
  const auto second = program_command("layalign-cache", 1, "build " + config);
  const auto outcome = run_command("(" + command + " >/dev/null 2>&1) & run=$!; until [ -s " + metrics +
                                   " ] || ! kill -0 $run; do sleep 0.05; done; (" + second + "); code=$?; kill -KILL $run; exit $code");
  EXPECT_EQ(outcome.code, 65) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr(cache().string()));
  EXPECT_THAT(outcome.output, HasSubstr("process "));
}

TEST_F(Cache, GrowsWhileTraining) {
  ASSERT_EQ(trained("online", "").code, 0);
  const auto outcome = trained("grown", "--set cache.mode=read_write --set parallel.tensor=1", 2);
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  expect_like_online("grown");
  EXPECT_THAT(program(1, "info " + cache().string()).output, HasSubstr("texts               12\n"));
  const auto read = trained("read", "--set cache.mode=read");
  ASSERT_EQ(read.code, 0) << read.output;
  expect_like_online("read");

  const auto other = " --set cache.path=" + folder.path("written").string();
  const auto written = trained("written-by", "--set cache.mode=write" + other);
  ASSERT_EQ(written.code, 0) << written.output;
  EXPECT_THAT(written.output, HasSubstr("cache: 0 texts read"));
  EXPECT_EQ(losses("written-by"), losses("online"));
  EXPECT_THAT(program(1, "info " + folder.path("written").string()).output, HasSubstr("texts               12\n"));
}

TEST_F(Cache, RanksThatAddTheSameTextAtOnceDoNotMeet) {
  const std::string sample = "{\"source\": [5, 6, 9, 1], \"prompt\": [7, 8], \"target\": [30, 2]}\n";
  folder.write("corpus.jsonl", sample + sample + sample + sample);
  replace_in_file(config, "global_batch: 6, micro_batch: 3", "global_batch: 2, micro_batch: 1");
  for (int i = 0; i < 5; ++i) {
    const std::string name = "equal-" + std::to_string(i), path = folder.path("cache-" + name).string();
    const auto outcome = trained(name, "--set cache.mode=read_write --set checkpoint.every=1 --set cache.path=" + path, 2);
    EXPECT_EQ(outcome.code, 0) << outcome.output;
    EXPECT_THAT(program(1, "info " + path).output, HasSubstr("texts               1\n"));
    EXPECT_EQ(program(1, "verify " + path).code, 0);
  }
}

TEST_F(Cache, WhatIsMissingDamagedOrDifferentIsNamed) {
  const auto none = trained("none", "--set cache.mode=read");
  EXPECT_EQ(none.code, 65) << none.output;
  EXPECT_THAT(none.output, HasSubstr(cache().string()));

  ASSERT_EQ(program(1, "build " + config).code, 0);
  const auto other = trained("other", "--set cache.mode=read --set cache.dtype=bfloat16");
  EXPECT_EQ(other.code, 65) << other.output;
  EXPECT_THAT(other.output, HasSubstr("dtype"));
  EXPECT_THAT(other.output, HasSubstr("bfloat16"));

  // A copy with other weights that was given the times of the original.
  const auto encoder = folder.copy_model("mt5");
  const auto weights = (encoder / "model.safetensors").string();
  std::string bytes = read_file(weights);
  bytes[bytes.size() - 3] ^= 1;
  std::ofstream(weights, std::ios::binary) << bytes;
  ASSERT_EQ(run_command("touch -r " + kModels + "mt5/model.safetensors " + weights).code, 0);
  const auto stale = trained("stale", "--set cache.mode=read --set model.encoder=" + encoder.string());
  EXPECT_EQ(stale.code, 65) << stale.output;
  EXPECT_THAT(stale.output, HasSubstr("encoder_weights"));

  std::ofstream(folder.path("corpus.jsonl"), std::ios::app) << "{\"source\": [5, 99, 1], \"prompt\": [], \"target\": [30, 2]}\n";
  const auto missing = trained("missing", "--set cache.mode=read");
  EXPECT_EQ(missing.code, 65) << missing.output;
  EXPECT_THAT(missing.output, HasSubstr("corpus.jsonl:25"));
  EXPECT_THAT(missing.output, HasSubstr("not in the cache"));

  change_byte(-5);
  const auto damaged = program(1, "verify " + cache().string());
  EXPECT_EQ(damaged.code, 65) << damaged.output;
  EXPECT_THAT(damaged.output, HasSubstr(".h5"));
}

TEST_F(Cache, UsageIsChecked) {
  EXPECT_EQ(program(1, "").code, 2);
  EXPECT_EQ(program(1, "build").code, 2);
  EXPECT_EQ(program(1, "info " + folder.path("nowhere").string()).code, 65);
  const auto no_path = program(1, "build " + config + " --set cache.path=null");
  EXPECT_EQ(no_path.code, 2) << no_path.output;
  EXPECT_THAT(no_path.output, HasSubstr("cache.path"));
}

}  // namespace
}  // namespace layalign::test
