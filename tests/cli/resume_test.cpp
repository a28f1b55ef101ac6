// layalign-train: where a run begins, what it skips, and who stands still.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/cli/program.h"

namespace layalign::test {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

const std::string kModels = LAYALIGN_TEST_DATA "/golden/models/";

class Resume : public testing::Test {
 protected:
  void SetUp() override {
    std::string corpus;
    for (int i = 0; i < 24; ++i) {
      const std::string n = std::to_string(10 + i);
      corpus += "{\"source\": [5, " + n + ", 9, 1], \"prompt\": [7, 8], \"target\": [" + n + ", 30, 2]}\n";
    }
    folder.write("corpus.jsonl", corpus);
    config = folder
                 .write("run.yaml", "model: {encoder: " + kModels + "mt5, llm: " + kModels +
                                        "llama}\nparallel: {device: cpu, threads: 1}\ncheckpoint: {every: 2, keep: 100}\n"
                                        "stages:\n  - {name: only, corpus: {format: token_ids, path: corpus.jsonl}, prompt: true, "
                                        "epochs: 2, global_batch: 6, micro_batch: 3, lr: 1.0e-3}\n")
                 .string();
  }
  std::string output(const std::string& name) const { return folder.path(name).string(); }
  Outcome trained(const std::string& name, const std::string& more = "", int ranks = 1) {
    return train(ranks, config + " --set output=" + output(name) + " " + more);
  }
  std::string trainables(const std::string& name) const { return read_file(output(name) + "/1-only/trainables.safetensors"); }

  WorkFolder folder;
  std::string config;
};

TEST_F(Resume, BeginsAtACheckpointOfAnotherRun) {
  ASSERT_EQ(trained("whole").code, 0);
  const std::string checkpoint = output("whole") + "/1-only/step-00000004";
  const auto second = trained("second", "--resume " + checkpoint);
  ASSERT_EQ(second.code, 0) << second.output;
  EXPECT_THAT(second.output, HasSubstr("this run begins at " + checkpoint));
  EXPECT_THAT(second.output, HasSubstr("resuming after step 4"));
  EXPECT_EQ(trainables("second"), trainables("whole"));
  // The same command again: the run has checkpoints of its own.
  fs::remove(output("second") + "/summary.json");
  fs::remove(output("second") + "/1-only/trainables.safetensors");
  fs::remove_all(output("second") + "/1-only/step-00000008");
  const auto again = trained("second", "--resume " + checkpoint);
  ASSERT_EQ(again.code, 0) << again.output;
  EXPECT_THAT(again.output, HasSubstr("resuming after step 6"));
  EXPECT_EQ(trainables("second"), trainables("whole"));
}

TEST_F(Resume, WrongPlacesAreRefused) {
  ASSERT_EQ(trained("whole").code, 0);
  const auto refused = [&](const std::string& name, const std::string& more, const std::string& what) {
    const auto outcome = trained(name, more);
    EXPECT_EQ(outcome.code, 2) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr(what));
  };
  const std::string checkpoint = output("whole") + "/1-only/step-00000004";
  refused("whole", "--resume never", "holds a run already");
  refused("whole", "--resume " + checkpoint, "lies in `output` itself");
  refused("new", "--resume " + output("whole"), "is the output folder of a run");
  refused("new", "--resume " + checkpoint + " --set stages.0.lr=2.0e-3", "stages.0.lr");
  const auto nowhere = trained("new", "--resume " + output("nowhere"));
  EXPECT_EQ(nowhere.code, 65) << nowhere.output;
  EXPECT_EQ(trained("new", "--resume never").code, 0);
  EXPECT_EQ(trainables("new"), trainables("whole"));
}

/// Gives the embedding of one token this value.
void poison(const fs::path& weights, int64_t token, float value, const std::string& name = "shared.weight") {
  std::string bytes = read_file(weights);
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), 8);
  const auto header = nlohmann::json::parse(bytes.substr(8, header_bytes));
  const auto& embedding = header.at(name);
  ASSERT_EQ(embedding.at("dtype"), "F32");
  const auto width = embedding.at("shape")[1].get<int64_t>();
  for (int64_t i = 0; i < width; ++i) {
    std::memcpy(&bytes[8 + header_bytes + embedding.at("data_offsets")[0].get<uint64_t>() + 4 * (token * width + i)], &value, 4);
  }
  std::ofstream(weights, std::ios::binary) << bytes;
}

TEST_F(Resume, StepsThatAreNotFiniteMayBeSkippedUpToALimit) {
  const auto encoder = folder.copy_model("mt5");
  // In one sample: a step of each of the two epochs. The greatest number of float32 overflows in what the aligner makes of it.
  poison(encoder / "model.safetensors", 13, std::numeric_limits<float>::max());
  const std::string more = "--set model.encoder=" + encoder.string() + " --set optimizer.skip_nonfinite=";
  const auto stopped = trained("one", more + "1");
  EXPECT_EQ(stopped.code, 76) << stopped.output;
  EXPECT_THAT(stopped.output, HasSubstr("skipped (1 of at most 1"));
  EXPECT_THAT(stopped.output, HasSubstr("corpus.jsonl:4"));
  for (const int ranks : {1, 2}) {
    const std::string name = "two-" + std::to_string(ranks);
    const auto outcome = trained(name, more + "2 --set parallel.tensor=" + std::to_string(ranks), ranks);
    ASSERT_EQ(outcome.code, 0) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr("skipped (2 of at most 2"));
    std::ifstream lines(output(name) + "/metrics.jsonl");
    int64_t skipped = 0, steps = 0;
    for (std::string line; std::getline(lines, line); ++steps) skipped += nlohmann::json::parse(line)["loss"].is_null() ? 1 : 0;
    EXPECT_EQ(steps, 8);
    EXPECT_EQ(skipped, 2);
  }
  // A cache that would round and store such states lets them pass.
  const auto cached = trained("cached", more + "2 --set cache.mode=read_write --set cache.dtype=bfloat16 --set cache.path=" + output("cache"));
  EXPECT_EQ(cached.code, 0) << cached.output;
  EXPECT_THAT(cached.output, HasSubstr("skipped (2 of at most 2"));
  // What was skipped counts on in a run that is resumed.
  fs::create_directories(output("resumed"));
  const auto resumed = trained("resumed", more + "2 --resume " + output("two-1") + "/1-only/step-00000004");
  ASSERT_EQ(resumed.code, 0) << resumed.output;
  EXPECT_THAT(resumed.output, HasSubstr("skipped (2 of at most 2"));
  EXPECT_EQ(trainables("resumed"), trainables("two-1"));
}

TEST_F(Resume, WeightsThatAreNotFiniteAreToldBeforeTheFirstStep) {
  for (const std::string name : {"mt5", "mistral"}) {
    const std::string cached = "--set cache.mode=read_write --set cache.path=" + output("cache-" + name) + " ";
    const auto model = folder.copy_model(name);
    const std::string key = name == "mt5" ? "shared.weight" : "model.embed_tokens.weight";
    poison(model / "model.safetensors", 13, std::numeric_limits<float>::quiet_NaN(), key);
    const std::string more = "--set model." + std::string(name == "mt5" ? "encoder=" : "llm=") + model.string() + " ";
    for (const auto& [ranks, cache] : {std::pair(1, std::string()), std::pair(2, std::string()), std::pair(1, cached)}) {
      const std::string bad = "bad-" + name + std::to_string(ranks) + (cache.empty() ? "" : "-cached");
      const auto outcome = trained(bad, more + cache + "--set parallel.tensor=" + std::to_string(ranks), ranks);
      EXPECT_EQ(outcome.code, 65) << outcome.output;
      EXPECT_THAT(outcome.output, HasSubstr((model / "model.safetensors").string() + ": tensor '" + key + "'"));
      EXPECT_EQ(outcome.output.find("Look at these samples"), std::string::npos) << outcome.output;
      EXPECT_FALSE(fs::exists(output(bad) + "/1-only/trainables.safetensors"));
    }
  }
}

TEST_F(Resume, AFolderThatIsTakenIsToldBeforeTheModelsAreRead) {
  const auto encoder = folder.copy_model("mt5");
  fs::resize_file(encoder / "model.safetensors", 1000);
  fs::create_directory(output("taken"));
  const int lock = ::open((output("taken") + "/.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  ASSERT_EQ(::flock(lock, LOCK_EX | LOCK_NB), 0);
  const auto outcome = trained("taken", "--set model.encoder=" + encoder.string());
  ::close(lock);
  EXPECT_EQ(outcome.code, 2) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("is being written by another run"));
}

TEST_F(Resume, WithoutFileLocksARunWarnsAndGoesOn) {
  const std::string models = LAYALIGN_SOURCE_DIR "/tests/miniature/models/", cache = output("cache");
  const auto miniature =
      folder.write("miniature.yaml", "output: " + output("unlocked") + "\nmodel: {encoder: " + models + "encoder, llm: " + models +
                                         "llm}\ndata: {root: " LAYALIGN_TEST_DATA "}\nparallel: {device: cpu, threads: 1}\ncache: {mode: read_write, path: " +
                                         cache + "}\nstages:\n  - {name: only, corpus: {format: msvamp}, prompt: true, max_steps: 1, "
                                         "global_batch: 4, dev_size: 0, max_target_tokens: 600}\n");
  const std::string evaluation = miniature.string() + " --task mgsm --languages English --limit 1 --max-new-tokens 1";
  for (const auto& [program, arguments, place] :
       {std::tuple("layalign-train", miniature.string(), output("unlocked")), std::tuple("layalign-cache", "build " + miniature.string(), cache),
        std::tuple("layalign-eval", evaluation, output("unlocked") + "/evaluation/outputs.jsonl")}) {
    auto command = program_command(program, 1, arguments);
    command.insert(command.find("&& ") + 3, "ASAN_OPTIONS=verify_asan_link_order=0 LD_PRELOAD=" LAYALIGN_NO_FILE_LOCKS " ");
    const auto outcome = run_command(command);
    EXPECT_EQ(outcome.code, 0) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr(place + ": this file system has no file locks"));
  }
}

TEST_F(Resume, ARankThatIsStoppedEndsTheRunWhichGoesOnBitByBit) {
  const std::string longer = "--set parallel.tensor=2 --set stages.0.epochs=100 --set checkpoint.every=20";
  ASSERT_EQ(trained("whole", longer, 2).code, 0);
  const std::string more = longer + " --set watchdog.step=3s --set watchdog.save=3s";
  const std::string metrics = output("held") + "/metrics.jsonl";
  // The second of the program's processes gets SIGSTOP once the first steps are done.
  const auto held = run_command("(" + program_command("layalign-train", 2, config + " --set output=" + output("held") + " " + more) +
                                ") & run=$!; until [ -s " + metrics + " ] || ! kill -0 $run 2>/dev/null; do sleep 0.02; done; kill -STOP $(pgrep -f " +
                                output("held") + " | xargs -I{} sh -c 'grep -qs ^layalign-train /proc/{}/comm && echo {}' | tail -1); wait $run");
  ASSERT_EQ(held.code, 70) << held.output;
  EXPECT_THAT(held.output, HasSubstr("has given no sign of life"));
  EXPECT_THAT(held.output, HasSubstr("watchdog.s"));
  const auto again = trained("held", more, 2);
  ASSERT_EQ(again.code, 0) << again.output;
  EXPECT_EQ(trainables("held"), trainables("whole"));
}

}  // namespace
}  // namespace layalign::test
