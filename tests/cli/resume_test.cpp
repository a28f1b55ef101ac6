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
using testing::Not;
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
  /// Leaves a run as if it had been killed after `step`: without what it has saved since.
  void lose_checkpoints(const std::string& name, int64_t step) const {
    fs::remove(output(name) + "/summary.json");
    fs::remove(output(name) + "/1-only/trainables.safetensors");
    std::vector<fs::path> later;
    for (const auto& entry : fs::directory_iterator(output(name) + "/1-only")) {
      const std::string folder_name = entry.path().filename();
      if (folder_name.starts_with("step-") && std::stoll(folder_name.substr(5)) > step) later.push_back(entry.path());
    }
    for (const auto& checkpoint : later) fs::remove_all(checkpoint);
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
  refused("whole", "--resume " + output("whole"), "lies in `output` itself");
  refused("new", "--resume " + checkpoint + "/trainables.safetensors", "is a file of weights; expected auto, never");
  for (const char* word : {"Never", "''", "nowhere/step-00000002"}) {
    refused("new", std::string("--resume ") + word, "there is no such folder; expected auto, never");
    refused("new", std::string("--dry-run --resume ") + word, "there is no such folder; expected auto, never");
  }
  refused("new", "--resume " + checkpoint + " --set model.language_layers=[0]", "trains other weights");
  refused("new", "--resume " + checkpoint + " --set stages.0.max_steps=3", "which has only 3 steps here");
  folder.write("shorter.jsonl", read_file(folder.path("corpus.jsonl")).substr(0, 600));
  replace_in_file(folder.path("shorter.jsonl"), "[5, 10, 9, 1]", "[5, 11, 9, 1]");
  const std::string lines = read_file(folder.path("shorter.jsonl"));
  folder.write("shorter.jsonl", lines.substr(0, lines.rfind('\n') + 1));
  refused("new", "--resume " + checkpoint + " --set stages.0.corpus.path=shorter.jsonl",
          "the corpus has changed (stage only)");
  EXPECT_EQ(trained("new", "--resume never").code, 0);
  EXPECT_EQ(trainables("new"), trainables("whole"));
}

TEST_F(Resume, AnotherOutputMayGoOnWithAnotherConfig) {
  ASSERT_EQ(trained("whole").code, 0);
  const std::string stage = output("whole") + "/1-only";
  const auto other =
      trained("other", "--resume " + stage + "/step-00000004 --set stages.0.lr=2.0e-3 --set optimizer.clip_norm=0.5");
  ASSERT_EQ(other.code, 0) << other.output;
  EXPECT_THAT(other.output, HasSubstr("differs from the run of --resume: stages.0.lr: 0.001 != 0.002"));
  EXPECT_THAT(other.output, HasSubstr("differs from the run of --resume: optimizer.clip_norm"));
  EXPECT_THAT(other.output, HasSubstr("resuming after step 4"));
  EXPECT_NE(trainables("other"), trainables("whole"));
  // Of a run and of a stage the newest checkpoint is meant.
  const auto longer = trained("longer", "--resume " + output("whole") + " --set stages.0.epochs=3");
  ASSERT_EQ(longer.code, 0) << longer.output;
  EXPECT_THAT(longer.output, HasSubstr("this run begins at " + stage + "/step-00000008"));
  const auto again = trained("again", "--resume " + stage + "/ --set stages.0.epochs=3");
  ASSERT_EQ(again.code, 0) << again.output;
  EXPECT_EQ(trainables("again"), trainables("longer"));
  // A sample that is held out now may have been trained on.
  const auto split =
      trained("split", "--resume " + output("whole") + " --set stages.0.epochs=3 --set stages.0.dev_size=6");
  EXPECT_EQ(split.code, 0) << split.output;
  EXPECT_THAT(split.output, HasSubstr("its run held out other samples (stage only)"));
}

TEST_F(Resume, WhereARunBeganIsRemembered) {
  ASSERT_EQ(trained("whole").code, 0);
  const std::string checkpoint = output("whole") + "/1-only/step-00000004";
  ASSERT_EQ(trained("second", "--resume " + checkpoint).code, 0);
  EXPECT_EQ(read_file(output("second") + "/origin"), checkpoint + "\n");
  // As if it had been killed before its first checkpoint, and started without the flag.
  lose_checkpoints("second", 0);
  const auto again = trained("second");
  ASSERT_EQ(again.code, 0) << again.output;
  EXPECT_THAT(again.output, HasSubstr("ended before its first checkpoint and begins anew"));
  EXPECT_THAT(again.output, HasSubstr("this run begins at " + checkpoint));
  EXPECT_EQ(trainables("second"), trainables("whole"));
  // A run with checkpoints of its own goes on without the other one, whatever the command says.
  lose_checkpoints("second", 6);
  fs::remove_all(checkpoint);
  const auto own = trained("second", "--resume " + checkpoint);
  ASSERT_EQ(own.code, 0) << own.output;
  EXPECT_THAT(own.output, HasSubstr("resuming after step 6"));
  EXPECT_EQ(trainables("second"), trainables("whole"));
  lose_checkpoints("second", 0);
  const auto gone = trained("second");
  EXPECT_EQ(gone.code, 65) << gone.output;
  EXPECT_THAT(gone.output, HasSubstr("this run began at that checkpoint, which is no longer there"));
}

TEST_F(Resume, BeginningAnewIsSaid) {
  const auto first = trained("whole");
  ASSERT_EQ(first.code, 0);
  EXPECT_THAT(first.output, Not(HasSubstr("begins anew")));
  const std::string weights = trainables("whole");
  lose_checkpoints("whole", 0);
  const auto again = trained("whole");
  ASSERT_EQ(again.code, 0) << again.output;
  EXPECT_THAT(again.output, HasSubstr("ended before its first checkpoint and begins anew"));
  EXPECT_EQ(trainables("whole"), weights);
}

TEST_F(Resume, TheConfigMayBeNamedInAnotherWay) {
  const std::string held_out = "--set stages.0.dev_size=6 --set stages.0.eval_every=2";
  ASSERT_EQ(trained("whole", held_out).code, 0);
  const std::string weights = trainables("whole");
  fs::create_directory(folder.path("sub"));
  config = folder.path("sub/../run.yaml").string();
  ASSERT_EQ(trained("other", held_out).code, 0);
  EXPECT_EQ(trainables("other"), weights);
  lose_checkpoints("whole", 4);
  const auto resumed = trained("whole", held_out);
  ASSERT_EQ(resumed.code, 0) << resumed.output;
  EXPECT_THAT(resumed.output, HasSubstr("resuming after step 4"));
  EXPECT_EQ(trainables("whole"), weights);
}

TEST_F(Resume, FilesThatHaveMovedAreTheSame) {
  ASSERT_EQ(trained("whole").code, 0);
  const std::string weights = trainables("whole");
  const auto llm = folder.copy_model("llama"), encoder = folder.copy_model("mt5");
  const std::string moved = "--set model.llm=" + llm.string() + " --set model.encoder=" + encoder.string() +
                            " --set stages.0.corpus.path=" + folder.path("corpus.jsonl").string();
  lose_checkpoints("whole", 4);
  const auto resumed = trained("whole", moved);
  ASSERT_EQ(resumed.code, 0) << resumed.output;
  EXPECT_THAT(resumed.output,
              HasSubstr("changed since the run began: model.llm: " + kModels + "llama != " + llm.string()));
  EXPECT_THAT(resumed.output, HasSubstr("changed since the run began: stages.0.corpus.path: corpus.jsonl != "));
  EXPECT_EQ(trainables("whole"), weights);

  lose_checkpoints("whole", 4);
  const auto refused = [&](const std::string& what) {
    const auto outcome = trained("whole", moved);
    EXPECT_EQ(outcome.code, 2) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr(what));
  };
  const std::string settings = read_file(encoder / "config.json");
  std::ofstream(encoder / "config.json") << settings << "\n";
  refused("the config.json of " + encoder.string() + " has changed");
  std::ofstream(encoder / "config.json") << settings;
  const auto shard = llm / "model-00008-of-00008.safetensors";
  std::string bytes = read_file(shard);
  bytes[bytes.size() - 7] ^= 1;
  std::ofstream(shard, std::ios::binary) << bytes;
  refused("the LLM has changed (now the weights of " + llm.string() + ")");
}

TEST_F(Resume, WeightsToStartFromThatHaveChangedAreNoticed) {
  ASSERT_EQ(trained("first").code, 0);
  const auto init = folder.path("init.safetensors");
  fs::copy(output("first") + "/1-only/step-00000002/trainables.safetensors", init);
  ASSERT_EQ(trained("second", "--set model.init=" + init.string()).code, 0);
  lose_checkpoints("second", 4);
  const auto moved = folder.path("moved.safetensors");
  fs::rename(init, moved);
  EXPECT_EQ(trained("second", "--set model.init=" + moved.string()).code, 0);
  lose_checkpoints("second", 4);
  const auto other = trained("second", "--set model.init=" + output("first") + "/1-only/step-00000004");
  EXPECT_EQ(other.code, 2) << other.output;
  EXPECT_THAT(other.output, HasSubstr("the weights to start from have changed"));
}

TEST_F(Resume, OtherProcessorsAreWarnedOf) {
  // The oldest instruction set: any x86 processor of the last ten years has a newer one.
  const auto old = run_command("export ATEN_CPU_CAPABILITY=default; " +
                               program_command("layalign-train", 1, config + " --set output=" + output("old")));
  ASSERT_EQ(old.code, 0) << old.output;
  lose_checkpoints("old", 4);
  const auto resumed = trained("old");
  ASSERT_EQ(resumed.code, 0) << resumed.output;
  EXPECT_THAT(resumed.output, HasSubstr("was made on other processors ("));
  lose_checkpoints("old", 6);
  EXPECT_THAT(trained("old").output, Not(HasSubstr("other processors")));
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
  EXPECT_THAT(stopped.output, HasSubstr("another `output` and --resume " + output("one")));
  // The run that was stopped goes on with a higher limit, and with smaller pieces of a batch.
  const auto raised = trained("one", more + "2");
  ASSERT_EQ(raised.code, 0) << raised.output;
  EXPECT_THAT(raised.output, HasSubstr("changed since the run began: optimizer.skip_nonfinite: 1 != 2"));
  EXPECT_EQ(trainables("one"), trainables("two-1"));
  lose_checkpoints("one", 4);
  const auto smaller = trained("one", more + "2 --set stages.0.micro_batch=2");
  ASSERT_EQ(smaller.code, 0) << smaller.output;
  EXPECT_THAT(smaller.output, HasSubstr("changed since the run began: stages.0.micro_batch: 3 != 2"));
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
