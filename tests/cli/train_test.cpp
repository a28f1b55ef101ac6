// The real program: what it prints, writes and returns, with good input and with every kind of bad input.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "checkpoints_tools/safetensors.h"
#include "tests/cli/program.h"

namespace layalign::test {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

const std::string kModels = LAYALIGN_TEST_DATA "/golden/models/";

/// Six samples of ids; `broken` replaces the third line.
std::string corpus(const std::string& broken = "") {
  std::string text;
  for (int i = 0; i < 6; ++i) {
    const std::string n = std::to_string(10 + i);
    text += i == 2 && !broken.empty() ? broken + "\n"
                                      : "{\"source\": [5, " + n + ", 1], \"prompt\": [7, 8], \"target\": [" + n + ", 30, 2]}\n";
  }
  return text;
}

std::vector<double> losses(const std::string& metrics) {
  std::vector<double> found;
  for (size_t at = metrics.find("\"loss\":"); at != std::string::npos; at = metrics.find("\"loss\":", at + 1)) {
    found.push_back(std::stod(metrics.substr(at + 7)));
  }
  return found;
}

class Train : public testing::Test {
 protected:
  /// A config with one stage over corpus.jsonl: 6 samples, batches of 2, 2 epochs, so 6 steps.
  std::string config(const std::string& encoder = kModels + "mt5", const std::string& llm = kModels + "llama",
                     const std::string& more = "") {
    if (!fs::exists(folder.path("corpus.jsonl"))) folder.write("corpus.jsonl", corpus());
    return folder
        .write("run.yaml", "output: " + output().string() + "\nmodel: {encoder: " + encoder + ", llm: " + llm +
                               "}\nparallel: {device: cpu, tensor: 1, threads: 1}\nstages:\n  - {name: only, corpus: {format: "
                               "token_ids, path: corpus.jsonl}, prompt: true, epochs: 2, global_batch: 2, lr: 1.0e-3}\n"
                               "checkpoint: {every: 2, keep: 9}\n" + more)
        .string();
  }
  fs::path output() const { return folder.path("out"); }

  /// The run fails with this code and text, and leaves nothing behind but the lock that it held.
  void expect_refused(const Outcome& outcome, int code, const std::vector<std::string>& texts) {
    EXPECT_EQ(outcome.code, code) << outcome.output;
    for (const auto& text : texts) EXPECT_THAT(outcome.output, HasSubstr(text));
    if (!fs::exists(output())) return;
    for (const auto& entry : fs::directory_iterator(output())) EXPECT_EQ(entry.path().filename(), ".lock");
  }

  WorkFolder folder;
};

TEST_F(Train, WritesWhatItPromises) {
  const auto outcome = train(2, config() + " --set parallel.tensor=2");
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("2 tensor parallel x 1 data parallel"));
  EXPECT_THAT(outcome.output, HasSubstr("trained weights: " + (output() / "1-only/trainables.safetensors").string()));
  const auto metrics = read_file(output() / "metrics.jsonl");
  EXPECT_EQ(std::count(metrics.begin(), metrics.end(), '\n'), 6);
  for (const char* key : {"stage", "step", "loss", "grad_norm", "lr", "label_tokens", "tokens_per_s", "samples_per_s",
                          "step_s", "peak_memory_bytes", "phase_s", "counters", "host_syncs"}) {
    EXPECT_THAT(metrics, HasSubstr("\"" + std::string(key) + "\":"));
  }
  for (const char* file : {"config.yaml", "summary.json", "1-only/trainables.safetensors", "1-only/step-00000006/state.json"}) {
    EXPECT_TRUE(fs::exists(output() / file)) << file;
  }
}

TEST_F(Train, AProfileTellsWhatAStageDid) {
  const auto outcome = train(1, config() + " --profile");
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("profile of 6 steps of stage only"));
  EXPECT_THAT(outcome.output, HasSubstr("llm_backward"));
  EXPECT_THAT(outcome.output, HasSubstr("host waits 1.0"));
}

TEST_F(Train, AFinishedRunIsLeftAlone) {
  const auto path = config();
  ASSERT_EQ(train(1, path).code, 0);
  const auto before = read_file(output() / "metrics.jsonl");
  const auto written = fs::last_write_time(output() / "1-only/trainables.safetensors");
  const auto again = train(1, path);
  EXPECT_EQ(again.code, 0) << again.output;
  EXPECT_THAT(again.output, HasSubstr("finished"));
  EXPECT_EQ(read_file(output() / "metrics.jsonl"), before);
  EXPECT_EQ(fs::last_write_time(output() / "1-only/trainables.safetensors"), written);

  const auto other = train(1, path + " --set optimizer.eps=1e-6");
  EXPECT_EQ(other.code, 2) << other.output;
  EXPECT_THAT(other.output, HasSubstr("optimizer.eps"));
  EXPECT_EQ(read_file(output() / "metrics.jsonl"), before);
}

TEST_F(Train, ResumeEqualsTheUninterruptedRun) {
  const auto path = config();
  ASSERT_EQ(train(1, path).code, 0);
  const auto whole = read_file(output() / "1-only/trainables.safetensors");
  const auto metrics = read_file(output() / "metrics.jsonl");
  // As a run looks that was killed after its second checkpoint, in the middle of its fifth step.
  fs::remove(output() / "summary.json");
  fs::remove(output() / "1-only/trainables.safetensors");
  fs::remove_all(output() / "1-only/step-00000006");
  const auto resumed = train(1, path);
  ASSERT_EQ(resumed.code, 0) << resumed.output;
  EXPECT_THAT(resumed.output, HasSubstr("resuming after step 4"));
  EXPECT_EQ(read_file(output() / "1-only/trainables.safetensors"), whole);
  const auto after = read_file(output() / "metrics.jsonl");
  EXPECT_EQ(std::count(after.begin(), after.end(), '\n'), 6);
  // To the last digit printed, which is every float32 exactly.
  EXPECT_EQ(losses(after), losses(metrics));
}

TEST_F(Train, DryRunPrintsThePlanAndWritesNothing) {
  const auto outcome = train(1, config() + " --dry-run --set parallel.tensor=2 --world 4");
  EXPECT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("4 ranks = 2 tensor parallel x 2 data parallel"));
  EXPECT_THAT(outcome.output, HasSubstr("frozen LLM"));
  EXPECT_THAT(outcome.output, HasSubstr("6 (3 an epoch)"));
  for (const char* part : {"tokens a micro-batch", "TFLOP", "communication", "in a cache of float32",
                           "a rank at its peak", "the run on this machine's CPU"}) {
    EXPECT_THAT(outcome.output, HasSubstr(part));
  }
  const auto planned = train(1, config() + " --dry-run --world 8 --gpu h200");
  EXPECT_EQ(planned.code, 0) << planned.output;
  EXPECT_THAT(planned.output, HasSubstr("the run on h200"));
  EXPECT_EQ(train(1, config() + " --dry-run --gpu abacus").code, 2);
  EXPECT_FALSE(fs::exists(output()));
}

TEST_F(Train, TheGridIsChosenAndKeptAtAResume) {
  const auto path = config() + " --set parallel.tensor=auto";
  const auto plan = train(1, path + " --dry-run --world 4 --gpu h200");
  EXPECT_EQ(plan.code, 0) << plan.output;
  EXPECT_THAT(plan.output, HasSubstr("parallel.tensor: auto is 1 on 4 ranks of h200: 1 takes"));
  EXPECT_THAT(plan.output, HasSubstr("4 ranks = 1 tensor parallel x 4 data parallel"));
  const auto first = train(2, path + " --set stages.0.max_steps=2");
  ASSERT_EQ(first.code, 0) << first.output;
  EXPECT_THAT(first.output, HasSubstr("parallel.tensor: auto is"));
  const auto stored = read_file(output() / "grid.json");
  EXPECT_THAT(stored, HasSubstr("\"world\": 2"));
  // Whatever was chosen: a run that goes on keeps what its folder says.
  std::ofstream(output() / "grid.json") << R"({"world": 2, "tensor": 2, "reason": "kept"})";
  fs::remove(output() / "summary.json");
  const auto second = train(2, path + " --set stages.0.max_steps=2");
  EXPECT_EQ(second.code, 0) << second.output;
  EXPECT_THAT(second.output, HasSubstr("2 tensor parallel x 1 data parallel"));
}

TEST_F(Train, HelpAndUsage) {
  EXPECT_THAT(train(1, "--help-config").output, HasSubstr("max_source_tokens"));
  EXPECT_EQ(train(1, "").code, 2);
  EXPECT_EQ(train(1, "--no-such-flag x").code, 2);
  EXPECT_EQ(train(1, "--version").code, 0);
  const auto missing = train(1, folder.path("none.yaml").string());
  EXPECT_EQ(missing.code, 2);
  EXPECT_THAT(missing.output, HasSubstr("none.yaml"));
}

TEST_F(Train, UnknownKey) {
  const auto path = config(kModels + "mt5", kModels + "llama", "optimizer: {epps: 1.0e-8}\n");
  expect_refused(train(2, path), 2, {"run.yaml:7:13", "epps", "optimizer.eps"});
}

TEST_F(Train, MissingModelFolder) {
  expect_refused(train(1, config(folder.path("nowhere").string())), 65, {"nowhere"});
}

TEST_F(Train, BrokenCorpusLine) {
  folder.write("corpus.jsonl", corpus("{\"source\": [5, 6], \"target\": "));
  expect_refused(train(2, config()), 65, {"corpus.jsonl:3"});
}

TEST_F(Train, MissingCorpusAndMissingInit) {
  expect_refused(train(2, config() + " --set stages.0.corpus.path=none.jsonl"), 65, {"none.jsonl", "corpus.path"});
  expect_refused(train(2, config() + " --set model.init=none.safetensors"), 65, {"none.safetensors"});
}

TEST_F(Train, APromptThatIsAskedForMustBeThere) {
  folder.write("corpus.jsonl", corpus("{\"source\": [5, 1], \"promt\": [7], \"target\": [30, 2]}"));
  expect_refused(train(1, config()), 65, {"corpus.jsonl:3", "'prompt'"});
}

TEST_F(Train, EmptyCorpus) {
  folder.write("corpus.jsonl", "");
  expect_refused(train(1, config()), 65, {"corpus.jsonl"});
}

TEST_F(Train, TokenizerAndVocabularyThatDisagree) {
  const auto llm = folder.copy_model("llama");
  replace_in_file(llm / "config.json", "\"vocab_size\": 1504", "\"vocab_size\": 904");
  folder.write("text.jsonl", "{\"source\": \"eins zwei\", \"target\": \"one two\"}\n{\"source\": \"drei\", \"target\": \"three\"}\n");
  const auto path = config(kModels + "mt5", llm.string());
  replace_in_file(path, "token_ids, path: corpus.jsonl", "jsonl, path: text.jsonl");
  expect_refused(train(1, path), 65, {"llama", "904"});
}

TEST_F(Train, HeadsThatTheTensorParallelSizeDoesNotDivide) {
  expect_refused(train(3, config() + " --set parallel.tensor=3"), 2, {"4 attention heads", "parallel.tensor = 3"});
}

TEST_F(Train, WorldThatTheTensorParallelSizeDoesNotDivide) {
  expect_refused(train(3, config() + " --set parallel.tensor=2"), 2, {"3 ranks", "parallel.tensor = 2"});
}

TEST_F(Train, TruncatedWeights) {
  const auto encoder = folder.copy_model("mt5");
  fs::resize_file(encoder / "model.safetensors", fs::file_size(encoder / "model.safetensors") - 100);
  expect_refused(train(2, config(encoder.string())), 65, {"model.safetensors", "truncated"});
}

TEST_F(Train, WeightOfAnotherShape) {
  const auto llm = folder.copy_model("mistral");
  replace_in_file(llm / "config.json", "\"intermediate_size\": 112", "\"intermediate_size\": 96");
  expect_refused(train(2, config(kModels + "mt5", llm.string())), 65, {"gate_proj.weight", "[112, 48]", "[96, 48]"});
}

TEST_F(Train, UnsupportedModelField) {
  const auto llm = folder.copy_model("mistral");
  replace_in_file(llm / "config.json", "\"sliding_window\": null", "\"sliding_window\": 16");
  expect_refused(train(1, config(kModels + "mt5", llm.string())), 65, {"sliding_window", "16"});
}

TEST_F(Train, WeightsThatAreNoFloatingPointNumbers) {
  const auto llm = folder.copy_model("mistral");
  std::vector<std::pair<std::string, at::Tensor>> weights;
  {
    const checkpoints_tools::SafetensorsFile file(llm / "model.safetensors");
    for (const auto& [name, info] : file.tensors()) weights.emplace_back(name, file.read(name));
  }
  for (auto& [name, tensor] : weights) {
    if (name == "model.norm.weight") tensor = tensor.to(at::kInt);
  }
  checkpoints_tools::write_safetensors(llm / "model.safetensors", weights);
  expect_refused(train(2, config(kModels + "mt5", llm.string())), 65, {"model.safetensors", "'model.norm.weight'", "Int"});
}

/// Two ranks that start in folders of their own, so that one relative path means two model folders.
Outcome train_apart(const WorkFolder& folder, const std::string& arguments) {
  folder.write("apart.sh", "cd " + folder.path("").string() + "rank$OMPI_COMM_WORLD_RANK && exec " LAYALIGN_BINARY_DIR
                           "/layalign-train " + arguments + "\n");
  return run_command(LAYALIGN_SOURCE_DIR "/tests/mpirun.sh -n 2 sh " + folder.path("apart.sh").string() + " </dev/null 2>&1");
}

TEST_F(Train, RanksThatReadOtherModelsAreStopped) {
  for (const char* rank : {"rank0", "rank1"}) {
    fs::create_directory(folder.path(rank));
    fs::copy(kModels + "mistral", folder.path(rank) / "mistral", fs::copy_options::recursive);
  }
  folder.write("text.jsonl", "{\"source\": \"eins zwei\", \"target\": \"one two\"}\n{\"source\": \"drei\", \"target\": \"three\"}\n");
  auto path = config(kModels + "mt5", "mistral");
  replace_in_file(path, "token_ids, path: corpus.jsonl", "jsonl, path: " + folder.path("text.jsonl").string());
  const auto tokenizer = folder.path("rank1") / "mistral/tokenizer_config.json";
  const std::string before = read_file(tokenizer);
  std::ofstream(tokenizer) << before << "\n";
  expect_refused(train_apart(folder, path), 70, {"tokenizer of mistral", "rank 0", "rank 1"});
  std::ofstream(tokenizer) << before;

  const auto weights = folder.path("rank1") / "mistral/model.safetensors";
  std::string bytes = read_file(weights);
  bytes[bytes.size() - 7] ^= 1;
  std::ofstream(weights, std::ios::binary) << bytes;
  expect_refused(train_apart(folder, path), 70, {"LLM weights (mistral)", "rank 0", "rank 1"});
}

TEST_F(Train, ForeignFilesInTheOutputFolder) {
  fs::create_directory(output());
  folder.write("out/thesis.tex", "years of work");
  const auto outcome = train(1, config());
  EXPECT_EQ(outcome.code, 2) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("out"));
  EXPECT_EQ(std::distance(fs::directory_iterator(output()), {}), 1);
}

TEST_F(Train, DivergenceStopsAllRanksAndNamesTheSamples) {
  const auto outcome = train(2, config() + " --set stages.0.lr=1e30 --set schedule.warmup=0");
  EXPECT_EQ(outcome.code, 76) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("step 2"));
  EXPECT_THAT(outcome.output, HasSubstr("rank"));
  EXPECT_THAT(outcome.output, HasSubstr("corpus.jsonl:"));
}

TEST_F(Train, WeightsThatTheLastUpdateMadeInfiniteAreNotSaved) {
  const auto outcome = train(2, config() + " --set stages.0.lr=1e39 --set schedule.warmup=0 --set stages.0.max_steps=1");
  EXPECT_EQ(outcome.code, 76) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("infinite or NaN"));
  EXPECT_FALSE(fs::exists(output() / "1-only/trainables.safetensors"));
  EXPECT_FALSE(fs::exists(output() / "summary.json"));
}

TEST_F(Train, DataParallelRanksGiveTheSameLosses) {
  ASSERT_EQ(train(1, config()).code, 0);
  const auto one = losses(read_file(output() / "metrics.jsonl"));
  ASSERT_EQ(train(2, config() + " --set output=" + folder.path("two").string()).code, 0);
  const auto two = losses(read_file(folder.path("two") / "metrics.jsonl"));
  ASSERT_EQ(one.size(), two.size());
  // Sums regrouped; AdamW with eps 1e-8 amplifies the rounding of near-zero gradients from the second step on.
  for (size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(two[i], one[i], (i == 0 ? 1e-5 : 2e-3) * one[i]) << "step " << i;
}

TEST_F(Train, AChangedCorpusIsNotResumed) {
  const auto path = config();
  ASSERT_EQ(train(1, path).code, 0);
  fs::remove(output() / "summary.json");
  replace_in_file(folder.path("corpus.jsonl"), "[5, 10, 1]", "[5, 11, 1]");
  replace_in_file(path, "checkpoint: {every: 2", "checkpoint: {every: 3");  // harmless, and not taken over either
  const std::string config_before = read_file(output() / "config.yaml");
  const auto outcome = train(1, path);
  EXPECT_EQ(outcome.code, 2) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("the corpus has changed"));
  EXPECT_EQ(read_file(output() / "config.yaml"), config_before);
}

TEST_F(Train, AGapInTheMetricsIsTold) {
  const auto path = config();
  ASSERT_EQ(train(1, path).code, 0);
  fs::remove(output() / "summary.json");
  fs::remove_all(output() / "1-only/step-00000006");
  const std::string metrics = read_file(output() / "metrics.jsonl");
  folder.write("out/metrics.jsonl", metrics.substr(metrics.find('\n') + 1));
  const auto outcome = train(1, path);
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("has 3 lines, but 4 steps were done"));
}

TEST_F(Train, TwoStagesOfTextResumeAcrossTheirBorder) {
  const std::string data = folder.path("data").string();
  const auto made = run_command("python3 " LAYALIGN_SOURCE_DIR "/tests/miniature/make_corpora.py --draws 1 --out " + data);
  ASSERT_EQ(made.code, 0) << made.output;
  const std::string set = " --set parallel.tensor=1 --set stages.0.max_steps=2 --set stages.1.max_steps=2 --set checkpoint.every=1"
                          " --set stages.0.global_batch=8 --set stages.1.global_batch=8 --set stages.0.dev_size=18"
                          " --set stages.1.dev_size=20 --set data.root=" + data + " --set output=" + output().string();
  const std::string arguments = LAYALIGN_SOURCE_DIR "/configs/quickstart.yaml" + set;
  const auto outcome = train(1, arguments);
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("Swahili"));
  const auto last = read_file(output() / "2-task/trainables.safetensors");
  EXPECT_NE(read_file(output() / "1-translation/trainables.safetensors"), last);
  // As if it had been killed between the stages.
  fs::remove(output() / "summary.json");
  fs::remove_all(output() / "2-task");
  ASSERT_EQ(train(1, arguments).code, 0);
  EXPECT_EQ(read_file(output() / "2-task/trainables.safetensors"), last);
  const auto metrics = read_file(output() / "metrics.jsonl");
  EXPECT_EQ(std::count(metrics.begin(), metrics.end(), '\n'), 4);
}

}  // namespace
}  // namespace layalign::test
