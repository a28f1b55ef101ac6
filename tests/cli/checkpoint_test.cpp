// layalign-checkpoint on what layalign-train wrote: what it prints, writes and returns.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "checkpoints_tools/safetensors.h"
#include "checkpoints_tools/tensor_map.h"
#include "tests/cli/program.h"

namespace layalign::test {
namespace {

using checkpoints_tools::read_tensors;
using checkpoints_tools::SafetensorsFile;
using checkpoints_tools::TensorMap;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;

const std::string kGolden = LAYALIGN_TEST_DATA "/golden/";

Outcome checkpoint(const std::string& arguments) { return run_program("layalign-checkpoint", 1, arguments); }

class Checkpoint : public testing::Test {
 protected:
  /// Trains two stages of 3 and 2 steps with checkpoints at every step; the adapted layers are 2 and 0, in this order.
  void train_run(const std::string& arguments = "", const std::string& model = "language_layers: [2, 0]") {
    std::string lines;
    for (int i = 10; i < 16; ++i) {
      const std::string n = std::to_string(i);
      lines += "{\"source\": [5, " + n + ", 1], \"prompt\": [7, 8], \"target\": [" + n + ", 30, 2]}\n";
    }
    folder.write("corpus.jsonl", lines);
    const std::string corpus =
        "corpus: {format: token_ids, path: corpus.jsonl}, epochs: 1, global_batch: 2, lr: 1.0e-3";
    folder.write("run.yaml", "output: " + run() + "\nmodel: {encoder: " + kGolden + "models/mt5, llm: " + kGolden +
                                 "models/llama, " + model +
                                 "}\nparallel: {device: cpu, tensor: 1, threads: 1}\nstages:\n" +
                                 "  - {name: first, prompt: false, " + corpus +
                                 "}\n  - {name: second, prompt: true, dev_size: 2, " + corpus +
                                 "}\ncheckpoint: {every: 1, keep: 9}\n");
    const Outcome outcome = train(1, config() + " " + arguments);
    ASSERT_EQ(outcome.code, 0) << outcome.output;
  }

  std::string at(const std::string& name) const { return folder.path(name).string(); }
  std::string run() const { return at("run"); }
  std::string config() const { return at("run.yaml"); }
  std::string step(int number) const { return run() + "/2-second/step-0000000" + std::to_string(number); }

  /// The command fails with this code and texts, and leaves no file `output` or part of one.
  void expect_refused(const std::string& arguments, int code, const std::vector<std::string>& texts,
                      const std::string& output = "x") {
    const Outcome outcome = checkpoint(arguments);
    EXPECT_EQ(outcome.code, code) << outcome.output;
    for (const auto& text : texts) EXPECT_THAT(outcome.output, HasSubstr(text));
    EXPECT_FALSE(fs::exists(at(output)));
    EXPECT_FALSE(fs::exists(at(output) + ".tmp"));
  }

  void damage(const fs::path& file, size_t from_end) {
    std::string bytes = read_file(file);
    bytes[bytes.size() - from_end] ^= 1;
    std::ofstream(file, std::ios::binary) << bytes;
  }

  WorkFolder folder;
};

TEST_F(Checkpoint, HelpAndUsage) {
  EXPECT_EQ(checkpoint("--version").code, 0);
  for (const char* command : {"inspect", "verify", "diff", "merge", "export", "import"}) {
    const Outcome help = checkpoint(std::string(command) + " --help");
    EXPECT_EQ(help.code, 0);
    EXPECT_THAT(help.output, HasSubstr("Example:\n  layalign-checkpoint " + std::string(command)));
    EXPECT_EQ(checkpoint(command).code, 2);
  }
  EXPECT_EQ(checkpoint("").code, 2);
  EXPECT_EQ(checkpoint("repair x").code, 2);
  EXPECT_EQ(checkpoint("export a -o b --format pickle").code, 2);
  expect_refused("inspect " + at("none"), 65, {at("none") + ": does not exist"});
  expect_refused("inspect " + at(""), 65, {"holds nothing of layalign"});
}

TEST_F(Checkpoint, InspectTellsWhatThereIs) {
  train_run();
  const Outcome text = checkpoint("inspect " + run());
  EXPECT_EQ(text.code, 0) << text.output;
  EXPECT_THAT(text.output,
              AllOf(HasSubstr("the output folder of a run, finished"), HasSubstr("language_layers   [2, 0]"),
                    HasSubstr("2-second"), HasSubstr("stage 2, step 2"), HasSubstr("LLM layer 2"),
                    HasSubstr("mapping mlp, aligner layer_wise, structure Linear, gate scalar")));

  const auto json = nlohmann::json::parse(checkpoint("inspect --json " + run()).output);
  EXPECT_TRUE(json["finished"].get<bool>());
  EXPECT_EQ(json["stages"].size(), 2U);
  EXPECT_EQ(json["stages"][0]["checkpoints"].size(), 3U);
  const TensorMap tensors = read_tensors(run() + "/2-second/trainables.safetensors");
  int64_t parameters = 0;
  for (const auto& [name, tensor] : tensors) parameters += tensor.numel();
  const auto& weights = json["weights"];
  EXPECT_EQ(weights["parameters"], parameters);
  EXPECT_EQ(weights["parts"]["gates"]["parameters"], 2);
  EXPECT_EQ(weights["gates"]["layers"], nlohmann::json({2, 0}));
  EXPECT_FLOAT_EQ(weights["gates"]["values"][1].get<float>(), tensors.at("gates")[1].item<float>());
  EXPECT_FLOAT_EQ(weights["gates"]["mean"].get<float>(), tensors.at("gates").mean().item<float>());
  const auto state = nlohmann::json::parse(read_file(step(2) + "/state.json"));
  EXPECT_EQ(json["checkpoint"]["fingerprints"]["encoder"], state["encoder_fingerprint"]);
  EXPECT_EQ(json["checkpoint"]["step"], 2);

  for (const std::string& path : {step(1) + "/", run() + "/1-first", run() + "/2-second/best.safetensors"}) {
    const auto report = nlohmann::json::parse(checkpoint("inspect --json " + path).output);
    EXPECT_EQ(report["weights"]["parameters"], parameters) << path;
    EXPECT_EQ(report["weights"]["gates"]["layers"], nlohmann::json({2, 0})) << path;  // the run's config is found
  }
}

TEST_F(Checkpoint, ARunThatHasNotFinishedItsFirstStage) {
  train_run();
  fs::remove(run() + "/summary.json");
  fs::remove_all(run() + "/2-second");
  fs::remove(run() + "/1-first/trainables.safetensors");
  // The newest checkpoint is what there is.
  const std::string newest = run() + "/1-first/step-00000003";
  Outcome outcome = checkpoint("inspect " + run());
  EXPECT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("a run, not finished"), HasSubstr("weights " + newest)));
  ASSERT_EQ(checkpoint("merge " + run() + " -o " + at("one")).code, 0);
  EXPECT_EQ(read_file(at("one")), read_file(newest + "/trainables.safetensors"));

  for (int i = 1; i <= 3; ++i) fs::remove_all(run() + "/1-first/step-0000000" + std::to_string(i));
  outcome = checkpoint("inspect " + run());
  EXPECT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("no checkpoints"), Not(HasSubstr("weights "))));
  expect_refused("merge " + run() + " -o " + at("x"), 65, {"without a training checkpoint"});
}

TEST_F(Checkpoint, VerifyFindsFlippedBitsTruncationAndNaN) {
  train_run();
  const Outcome whole = checkpoint("verify " + run());
  EXPECT_EQ(whole.code, 0) << whole.output;
  EXPECT_THAT(whole.output,
              AllOf(HasSubstr("ok   " + step(2)), HasSubstr("config.yaml"), HasSubstr("best.safetensors")));

  damage(step(1) + "/moments-00000-of-00001.safetensors", 9);
  const fs::path first = run() + "/1-first/step-00000001/trainables.safetensors";
  fs::resize_file(first, fs::file_size(first) - 8);
  const fs::path best = run() + "/2-second/best.safetensors";
  TensorMap tensors = read_tensors(best);
  tensors.at("gates")[1] = std::numeric_limits<float>::quiet_NaN();
  checkpoints_tools::write_safetensors(best, checkpoints_tools::as_list(tensors));

  const Outcome bad = checkpoint("verify " + run());
  EXPECT_EQ(bad.code, 65) << bad.output;
  EXPECT_THAT(bad.output, AllOf(HasSubstr("BAD  " + step(1)), HasSubstr("moments-00000-of-00001.safetensors: damaged: its XXH3-128"),
                                HasSubstr("truncated"), HasSubstr("tensor 'gates': 1 of 2 values are NaN"),
                                HasSubstr("ok   " + step(2)), HasSubstr("3 of 9 checked")));
  EXPECT_EQ(checkpoint("verify " + step(2)).code, 0);
  EXPECT_EQ(checkpoint("verify " + step(1)).code, 65);
  EXPECT_EQ(checkpoint("verify " + best.string()).code, 65);

  // Nothing is taken from a damaged checkpoint.
  fs::rename(first, first.string() + ".bad");
  expect_refused("merge " + step(1) + " -o " + at("x"), 65, {"moments-00000-of-00001.safetensors"});
  expect_refused("export " + step(1) + " -o " + at("x") + " --format adapter", 65, {"moments-00000-of-00001.safetensors"});
  expect_refused("diff " + step(1) + " " + step(2), 65, {"moments-00000-of-00001.safetensors"});
}

/// The files that a user carries away: weights outside of checkpoints.
TEST_F(Checkpoint, AChangedByteOfFinishedWeightsIsSeenByAll) {
  train_run();
  ASSERT_EQ(checkpoint("export " + run() + " -o " + at("adapter") + " --format adapter").code, 0);
  const std::string final = run() + "/2-second/trainables.safetensors", taken = at("adapter/adapter.safetensors");
  EXPECT_THAT(checkpoint("verify " + run()).output, Not(HasSubstr("has no checksum")));
  for (const std::string& file : {final, taken}) damage(file, 9);
  for (const std::string& path : {run(), run() + "/2-second", final, at("adapter"), taken}) {
    const Outcome outcome = checkpoint("verify " + path);
    EXPECT_EQ(outcome.code, 65) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr(".safetensors: damaged: its content has the XXH3-128"));
  }
  expect_refused("merge " + run() + " -o " + at("x"), 65, {final + ": damaged"});
  expect_refused("import " + taken + " -o " + at("x"), 65, {taken + ": damaged"});
  EXPECT_EQ(checkpoint("inspect " + taken).code, 65);
  const Outcome begun = train(1, config() + " --set output=" + at("x") + " --set model.init=" + final);
  EXPECT_EQ(begun.code, 65) << begun.output;
  EXPECT_THAT(begun.output, HasSubstr(final + ": damaged"));

  const Outcome foreign = checkpoint("verify " + kGolden + "mt5-llama-stage1-Linear.safetensors");
  EXPECT_EQ(foreign.code, 0) << foreign.output;
  EXPECT_THAT(foreign.output, HasSubstr("has no checksum: a changed byte would not be seen"));
}

TEST_F(Checkpoint, InspectPassesOverDamagedCheckpoints) {
  train_run();
  damage(step(2) + "/moments-00000-of-00001.safetensors", 9);
  Outcome outcome = checkpoint("inspect " + run());
  EXPECT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("checkpoints that cannot be read\n  " + step(2) + "/moments-00000"),
                                    HasSubstr("checkpoint " + step(1)), HasSubstr("stage 2, step 1")));
  auto json = nlohmann::json::parse(checkpoint("inspect --json " + run()).output);
  EXPECT_EQ(json["unreadable_checkpoints"].size(), 1U);
  EXPECT_EQ(json["unreadable_checkpoints"][0]["path"], step(2));
  EXPECT_EQ(json["checkpoint"]["path"], step(1));
  EXPECT_EQ(checkpoint("inspect " + step(2)).code, 65);

  // A stage that has not ended shows the weights of that checkpoint; one without any shows none.
  fs::remove(run() + "/2-second/trainables.safetensors");
  json = nlohmann::json::parse(checkpoint("inspect --json " + run() + "/2-second").output);
  EXPECT_EQ(json["weights"]["path"], step(1) + "/trainables.safetensors");
  damage(step(1) + "/state.json", 9);
  json = nlohmann::json::parse(checkpoint("inspect --json " + run() + "/2-second").output);
  EXPECT_EQ(json["unreadable_checkpoints"].size(), 2U);
  EXPECT_FALSE(json.contains("checkpoint"));
  EXPECT_FALSE(json.contains("weights"));
}

TEST_F(Checkpoint, NothingIsWrittenIntoACheckpoint) {
  train_run();
  const std::string weights = step(2) + "/trainables.safetensors", before = read_file(weights);
  fs::create_directory_symlink(step(2), at("link"));
  for (const std::string& output : {weights, at("link/trainables.safetensors"), step(2) + "/new"}) {
    const Outcome outcome = checkpoint("merge --force " + run() + "/1-first -o " + output);
    EXPECT_EQ(outcome.code, 2) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr("lies in the training checkpoint"));
  }
  EXPECT_EQ(checkpoint("export --format adapter " + run() + " -o " + step(2) + "/new").code, 2);
  EXPECT_EQ(read_file(weights), before);
  EXPECT_EQ(checkpoint("verify " + step(2)).code, 0);
}

TEST_F(Checkpoint, DiffEndsAsDiffDoes) {
  train_run();
  const Outcome same = checkpoint("diff " + run() + " " + step(2));
  EXPECT_EQ(same.code, 0) << same.output;
  EXPECT_THAT(same.output, HasSubstr("bit-equal: all 10 tensors"));
  EXPECT_EQ(checkpoint("diff --optimizer " + step(2) + " " + run()).code, 0);

  const Outcome other = checkpoint("diff " + step(1) + " " + step(2));
  EXPECT_EQ(other.code, 1) << other.output;
  EXPECT_THAT(other.output, AllOf(HasSubstr("gates  F32 [2]"), HasSubstr("largest difference"), HasSubstr("relative")));
  const std::string golden = kGolden + "mt5-llama-stage1-Linear.safetensors";
  EXPECT_THAT(checkpoint("diff " + run() + " " + golden).output, HasSubstr("only in A"));
  EXPECT_EQ(checkpoint("diff " + run() + " " + at("none")).code, 65);
  EXPECT_EQ(checkpoint("diff " + run() + " " + config()).code, 65);  // no safetensors
  EXPECT_EQ(checkpoint("diff --optimizer " + run() + " " + golden).code, 65);
}

TEST_F(Checkpoint, MergeTakesWeightsMomentsAndAverages) {
  train_run();
  ASSERT_EQ(checkpoint("merge " + run() + " -o " + at("one")).code, 0);
  EXPECT_EQ(read_file(at("one")), read_file(run() + "/2-second/trainables.safetensors"));

  ASSERT_EQ(checkpoint("merge --optimizer " + step(2) + " -o " + at("moments")).code, 0);
  const TensorMap moments = read_tensors(at("moments"));
  EXPECT_EQ(moments.size(), 30U);
  const SafetensorsFile flat(step(2) + "/moments-00000-of-00001.safetensors");
  for (const char* name : {"exp_avg", "exp_avg_sq"}) {  // the same elements, whatever they are called
    at::Tensor sum = at::zeros({}, at::kDouble);
    for (const auto& [moment, tensor] : moments) {
      if (moment.starts_with(name + std::string("."))) sum += tensor.to(at::kDouble).sum();
    }
    EXPECT_GT(sum.abs().item<double>(), 0);
    EXPECT_NEAR(sum.item<double>(), flat.read(name).to(at::kDouble).sum().item<double>(), 1e-12);  // order of the sum in float64
  }

  ASSERT_EQ(checkpoint("merge " + step(1) + " " + step(2) + " -o " + at("mean")).code, 0);
  const TensorMap a = read_tensors(step(1) + "/trainables.safetensors"),
                  b = read_tensors(step(2) + "/trainables.safetensors");
  const TensorMap mean = read_tensors(at("mean"));
  ASSERT_EQ(mean.size(), a.size());
  for (const auto& [name, tensor] : mean) {
    for (int64_t i = 0; i < tensor.numel(); ++i) {  // by hand
      const double sum = double{a.at(name).flatten()[i].item<float>()} + double{b.at(name).flatten()[i].item<float>()};
      ASSERT_EQ(tensor.flatten()[i].item<float>(), static_cast<float>(sum / 2)) << name << " " << i;
    }
  }
}

TEST_F(Checkpoint, MergeRefusesWhatDoesNotFit) {
  train_run();
  expect_refused("merge " + run() + " " + kGolden + "mt5-llama-stage1-Linear.safetensors -o " + at("x"), 65,
                 {"cannot average", "'gates': missing in"});
  expect_refused("merge --optimizer " + step(1) + " " + step(2) + " -o " + at("x"), 2, {"--optimizer"});
  expect_refused("merge --optimizer " + run() + "/2-second/best.safetensors -o " + at("x"), 65, {"no moments"});
  expect_refused("merge " + run() + " -o " + at("no/such/folder/x"), 74, {"no/such/folder"});
  folder.write("taken", "mine");
  EXPECT_EQ(checkpoint("merge " + run() + " -o " + at("taken")).code, 2);
  EXPECT_EQ(read_file(at("taken")), "mine");
  EXPECT_EQ(checkpoint("merge --force " + run() + " -o " + at("taken")).code, 0);
  EXPECT_EQ(checkpoint("diff " + run() + " " + at("taken")).code, 0);
}

TEST_F(Checkpoint, ExportThenImportIsBitExact) {
  train_run();
  ASSERT_EQ(checkpoint("export " + run() + " -o " + at("public") + " --format layalign-reference").code, 0);
  const TensorMap publics = read_tensors(at("public"));
  EXPECT_EQ(publics.size(), 11U);
  EXPECT_EQ(publics.at("mapping.end_boundary").sizes(), (std::vector<int64_t>{1, 1, 48}));
  const TensorMap ours = read_tensors(run() + "/2-second/trainables.safetensors");
  const auto gate = [&](int layer) {
    return publics.at("model_llm.model.model.layers." + std::to_string(layer) + ".self_attn.adaption_gate")
        .item<float>();
  };
  EXPECT_EQ(gate(2), ours.at("gates")[0].item<float>());
  EXPECT_EQ(gate(0), ours.at("gates")[1].item<float>());

  ASSERT_EQ(checkpoint("import " + at("public") + " -o " + at("back")).code, 0);
  EXPECT_EQ(checkpoint("diff " + run() + " " + at("back")).code, 0);
  // What was imported can go out again without a config: it has its layers with it.
  ASSERT_EQ(checkpoint("export " + at("back") + " -o " + at("again") + " --format layalign-reference").code, 0);
  EXPECT_EQ(read_file(at("again")), read_file(at("public")));
  EXPECT_EQ(checkpoint("import " + at("public") + " --language-layers 0,1 -o " + at("x")).code, 65);
  // The program that trains takes it.
  const Outcome trained = train(1, config() + " --set output=" + at("more") + " --set model.init=" + at("back"));
  EXPECT_EQ(trained.code, 0) << trained.output;
}

TEST_F(Checkpoint, ImportTakesTheOraclesFiles) {
  const std::string golden = kGolden + "mt5-llama-stage2-some-layers.safetensors";
  ASSERT_EQ(checkpoint("import " + golden + " -o " + at("init")).code, 0);
  ASSERT_EQ(checkpoint("import " + golden + " --prefix final. -o " + at("final")).code, 0);
  const SafetensorsFile file(golden);
  for (const char* which : {"init", "final"}) {
    for (const auto& [name, tensor] : read_tensors(at(which))) {
      EXPECT_TRUE(tensor.equal(file.read(std::string(which) + "." + name))) << which << name;
    }
  }
  EXPECT_EQ(SafetensorsFile(at("init")).metadata().at("language_layers").substr(0, 1), "[");
  folder.write("pytorch_model.bin", "PK\x03\x04...");
  expect_refused("import " + at("pytorch_model.bin") + " -o " + at("x"), 65, {"convert_bin.py"});
  expect_refused("import " + kGolden + "models/llama -o " + at("x"), 65,
                 {"not trained weights of layalign", "unexpected"});
}

TEST_F(Checkpoint, ExportRefusesWhatThePublicCodeCannotHold) {
  train_run("", "mapping: linear, gate: dynamic");
  expect_refused("export " + run() + " -o " + at("x") + " --format layalign-reference", 65,
                 {"a dynamic gate", "a linear mapping", "--format adapter"});
  const Outcome inspected = checkpoint("inspect " + run());
  EXPECT_THAT(inspected.output, AllOf(HasSubstr("gate dynamic"), HasSubstr("biases of the dynamic gates")));
  ASSERT_EQ(checkpoint("export " + run() + " -o " + at("adapter") + " --format adapter").code, 0);
  EXPECT_EQ(nlohmann::json::parse(read_file(at("adapter/config.json")))["gate"], "dynamic");
}

TEST_F(Checkpoint, AnAdapterIsWholeAndTellsItsModels) {
  train_run();
  const std::string command =
      "export " + run() + " --format adapter --encoder-name google/mt5-xl --license apache-2.0 -o ";
  const Outcome outcome = checkpoint(command + at("adapter"));
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  const auto json = nlohmann::json::parse(read_file(at("adapter/config.json")));
  EXPECT_EQ(json["encoder"], "google/mt5-xl");
  EXPECT_EQ(json["llm"], "llama");
  EXPECT_EQ(json["language_layers"], nlohmann::json({2, 0}));
  EXPECT_EQ(json["encoder_layers"], nlohmann::json({0, 1, 2, 3}));
  EXPECT_EQ(json["llm_width"], 48);
  const std::string card = read_file(at("adapter/README.md"));
  EXPECT_THAT(card,
              AllOf(testing::StartsWith("---\nlicense: \"apache-2.0\"\nbase_model:\n- \"google/mt5-xl\"\n- \"llama\"\n"
                                        "library_name: layalign\n"),
                    HasSubstr("datasets:\n- \"corpus.jsonl\""), HasSubstr("pipeline_tag: text-generation"),
                    HasSubstr("name: \"held-out perplexity\""), Not(HasSubstr(kGolden))));
  EXPECT_EQ(checkpoint("diff " + at("adapter") + " " + run()).code, 0);
  const Outcome verified = checkpoint("verify " + at("adapter"));
  EXPECT_EQ(verified.code, 0);
  EXPECT_THAT(verified.output, AllOf(HasSubstr("adapter/adapter.safetensors"), HasSubstr("adapter/config.json")));

  // Its config.json tells the layers of its gates.
  EXPECT_THAT(checkpoint("inspect " + at("adapter")).output,
              AllOf(HasSubstr("LLM layer 2 "), HasSubstr("LLM layer 0 ")));
  for (const char* path : {"adapter", "adapter/adapter.safetensors"}) {
    ASSERT_EQ(checkpoint("export --force " + at(path) + " -o " + at("public") + " --format layalign-reference").code,
              0);
    EXPECT_EQ(SafetensorsFile(at("public")).metadata().at("language_layers"), "[2,0]") << path;
  }
  for (const std::string& path : {run(), at("adapter"), at("adapter") + " --config " + config()}) {
    expect_refused("export " + path + " --language-layers 0,1 -o " + at("x") + " --format layalign-reference", 2,
                   {"[0,1] by --language-layers, but [2,0] by "});
  }
  replace_in_file(config(), "[2, 0]", "[0, 2]");
  expect_refused("export " + at("adapter") + " --config " + config() + " -o " + at("x") + " --format adapter", 2,
                 {"[2,0] by what lies with", "[0,2] by " + config()});
  replace_in_file(config(), "[0, 2]", "[2, 0]");
  EXPECT_EQ(
      checkpoint("export " + run() + " --language-layers 2,0 -o " + at("same") + " --format layalign-reference").code,
      0);
  replace_in_file(at("adapter/config.json"), "\"language_layers\": [", "\"language_layers\": [\"a\",");
  EXPECT_EQ(checkpoint("verify " + at("adapter")).code, 65);
  expect_refused("export " + at("adapter") + " -o " + at("x") + " --format layalign-reference", 65,
                 {"config.json: 'language_layers'"});
  EXPECT_THAT(checkpoint("inspect " + at("adapter")).output, HasSubstr("gate 0 "));

  EXPECT_EQ(checkpoint(command + at("adapter")).code, 2);  // never replaced
  EXPECT_EQ(read_file(at("adapter/README.md")), card);
  ASSERT_EQ(checkpoint("merge " + run() + " -o " + at("alone")).code, 0);
  expect_refused("export " + at("alone") + " -o " + at("x") + " --format adapter", 2, {"--config"});
  expect_refused("export " + at("alone") + " -o " + at("x") + " --format layalign-reference", 2, {"--language-layers"});
  EXPECT_EQ(checkpoint("export " + at("alone") + " --config " + config() + " --format adapter -o " + at("b")).code, 0);
  replace_in_file(config(), "language_layers: [2, 0]", "structure: MLP, language_layers: [0]");
  expect_refused("export " + at("alone") + " --config " + config() + " --format adapter -o " + at("x"), 2,
                 {"model.structure: MLP, but the weights show Linear"});
  replace_in_file(config(), "structure: MLP, ", "");
  expect_refused("export " + at("alone") + " --config " + config() + " --format adapter -o " + at("x"), 2,
                 {"model.language_layers means 1 layers, the weights have 2"});
}

/// Scores of layalign-eval stand in the card of exactly the weights that it scored.
TEST_F(Checkpoint, ScoresGoWithTheirWeights) {
  const std::string models = LAYALIGN_SOURCE_DIR "/tests/miniature/models/";
  folder.write("run.yaml",
               "output: " + run() + "\nmodel: {encoder: " + models + "encoder, llm: " + models +
                   "llm, language_layers: last 1}\ndata: {root: " LAYALIGN_TEST_DATA
                   "}\nparallel: {device: cpu}\n"
                   "stages:\n  - {name: task, corpus: {format: msvamp, languages: [Thai]}, prompt: true, "
                   "global_batch: 2, max_steps: 2, dev_size: 0, max_target_tokens: 600}\ncheckpoint: {every: 1}\n");
  Outcome outcome = train(1, config());
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  outcome = evaluate(1, config() + " --task msvamp --languages English,Thai --limit 1 --max-new-tokens 3");
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  outcome = checkpoint("export " + run() + " -o " + at("scored") + " --format adapter");
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_THAT(read_file(at("scored/README.md")),
              AllOf(HasSubstr("language:\n- \"en\"\n- \"th\"\n"), HasSubstr("name: \"msvamp_th\""),
                    HasSubstr("| msvamp_en | accuracy | ")));
  ASSERT_EQ(checkpoint("export " + run() + "/1-task/step-00000001 -o " + at("before") + " --format adapter").code, 0);
  EXPECT_THAT(read_file(at("before/README.md")), Not(HasSubstr("msvamp_th")));
}

}  // namespace
}  // namespace layalign::test
