// layalign-checkpoint export --format huggingface: what transformers computes with the folder is what the programs
// compute.
#include <fstream>
#include <list>

#include "tests/cli/golden_input.h"

namespace layalign::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using Ids = std::vector<std::vector<int64_t>>;

/// Sums of float32 in other orders differ by some 1e-7; this is the tolerance of the golden losses.
constexpr double kLossTolerance = 1e-5;

Outcome checkpoint(const std::string& arguments) { return run_program("layalign-checkpoint", 1, arguments); }

/// What huggingface_outputs.py says to jobs, all in one process since transformers takes long to import. What
/// transformers keeps lies in the test's own folder, and there is no network.
json python(const WorkFolder& folder, const json& jobs) {
  const auto outcome = run_command("cd " LAYALIGN_SOURCE_DIR " && HF_HOME=" + folder.path("home").string() +
                                   " HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 TRANSFORMERS_VERBOSITY=error " +
                                   LAYALIGN_TEST_PYTHON + " tests/cli/huggingface_outputs.py " +
                                   folder.write("jobs.json", jobs.dump()).string());
  EXPECT_EQ(outcome.code, 0) << outcome.output;
  const auto begin = outcome.output.rfind("\n[");
  return json::parse(begin == std::string::npos ? outcome.output : outcome.output.substr(begin + 1));
}

/// Initial weights of a golden file, exported to `folder`/python.
void export_golden(const WorkFolder& folder, const GoldenInput& golden, const std::string& options = "") {
  const std::string weights = folder.path("weights.safetensors").string();
  Outcome outcome = checkpoint("import " + golden.path.string() + " -o " + weights);
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  outcome = checkpoint("export " + weights + " --format huggingface --config " + folder.path("c.json").string() +
                       " -o " + folder.path("python").string() + options);
  ASSERT_EQ(outcome.code, 0) << outcome.output;
}

/// The mean loss of all samples that layalign-train finds before its first step.
double trained_loss(const WorkFolder& folder, const GoldenInput& golden) {
  json config = golden.config;
  config["output"] = folder.path("run").string();
  config["model"]["init"] = golden.path.string();
  config["stages"][0].update(
      {{"prompt", true}, {"global_batch", golden.samples.size()}, {"max_steps", 1}, {"dev_size", 0}});
  const auto outcome = train(1, folder.write("train.json", config.dump()).string());
  EXPECT_EQ(outcome.code, 0) << outcome.output;
  return read_jsonl(folder.path("run/metrics.jsonl")).at(0).at("loss");
}

Ids each_twice(const Ids& ids) {
  Ids twice;
  for (const auto& row : ids) twice.insert(twice.end(), {row, row});
  return twice;
}

struct ExportCase {
  std::string golden, encoder, llm;
};

const std::vector<ExportCase> kExportCases = {{"mt5-llama-stage2-some-layers", "mt5", "llama"},
                                              {"mt5-llama-gqa-stage1-langbridge", "mt5", "llama-gqa"},
                                              {"mt5-mistral-stage2-dynamic_gate", "mt5", "mistral"},
                                              {"mt5-mistral-stage1-no_mapping", "mt5", "mistral"},
                                              {"mt5-qwen2-tied-stage2-uniform_mean", "mt5", "qwen2-tied"},
                                              {"mt5-qwen3-stage2-Linear", "mt5", "qwen3"},
                                              {"t5-llama-bias-stage2-MLP", "t5", "llama-bias"},
                                              {"nllb-llama-gqa-stage2-MLP", "nllb", "llama-gqa"},
                                              {"m2m-qwen2-tied-stage1-Linear", "m2m", "qwen2-tied"},
                                              {"xlmr-mistral-stage1-Linear", "xlmr", "mistral"},
                                              {"gpt2-qwen2-tied-stage2-Linear", "gpt2", "qwen2-tied"},
                                              {"qwen3-qwen2-tied-stage2-Linear", "qwen3", "qwen2-tied"}};

TEST(HuggingFace, GivesTheSameLossesAndIds) {
  const WorkFolder home;
  std::list<WorkFolder> folders;
  json jobs = json::array();
  std::vector<Ids> ids;
  std::vector<double> losses;
  for (const auto& [name, encoder, llm] : kExportCases) {
    SCOPED_TRACE(name);
    const WorkFolder& folder = folders.emplace_back();
    const GoldenInput golden(folder, name, encoder, (kGolden / "models" / llm).string(), 1);
    export_golden(folder, golden);
    const auto evaluated =
        evaluate(1, golden.arguments + " --input " + golden.input + " --output " + folder.path("out").string());
    ASSERT_EQ(evaluated.code, 0) << evaluated.output;
    ids.push_back(written_ids(folder.path("out")));
    losses.push_back(trained_loss(folder, golden));
    jobs.push_back({{"folder", folder.path("python").string()}, {"samples", golden.input}});
  }
  const json outputs = python(home, jobs);
  for (size_t i = 0; i < outputs.size(); ++i) {
    SCOPED_TRACE(kExportCases[i].golden);
    const json& made = outputs[i];
    ASSERT_FALSE(made.contains("refused")) << made;
    EXPECT_NEAR(made.at("loss").get<double>() / losses[i], 1, kLossTolerance);
    EXPECT_NEAR(made.at("loss_alone").get<double>() / losses[i], 1, kLossTolerance);
    for (const char* way : {"ids", "ids_alone", "ids_without_cache"}) EXPECT_EQ(made.at(way).get<Ids>(), ids[i]) << way;
    EXPECT_EQ(made.at("ids_twice").get<Ids>(), each_twice(ids[i]));
  }
}

/// A stage of text with prompts, on models with tokenizers. `tokenizer`: a folder with the same SentencePiece model as
/// the LLM's, which transformers 5 reads as it is meant.
struct TextCase {
  std::string golden, encoder, llm, tokenizer, task, language;
};

const std::vector<TextCase> kTextCases = {
    {"mt5-llama-stage2-Linear", "mt5", "llama", "llama", "answer", "Swahili"},
    {"mt5-llama-stage2-some-layers", "mt5", "llama", "llama", "translation", "Swahili"},
    {"xlmr-mistral-stage1-Linear", "xlmr", "mistral", "llama", "answer", "Thai"}};

/// Exports a golden file with a stage of text, whose sources and prompts are cut. Returns the command line of
/// layalign-eval.
std::string export_with_text(const WorkFolder& folder, const TextCase& text) {
  GoldenInput golden(folder, text.golden, text.encoder, (kGolden / "models" / text.llm).string(), 1);
  golden.config["stages"][0] = {{"corpus", {{"format", "msvamp"}, {"task", text.task}}},
                                {"prompt", true},
                                {"max_source_tokens", 12},
                                {"max_target_tokens", 60}};
  golden.config["data"] = {{"root", LAYALIGN_TEST_DATA}};
  const auto config = folder.write("c.json", golden.config.dump()).string();
  export_golden(folder, golden);
  return config + " --checkpoint " + golden.path.string() + " --task text --languages " + text.language;
}

TEST(HuggingFace, ReadsAndWritesTheSameText) {
  const WorkFolder home;
  std::list<WorkFolder> folders;
  json jobs = json::array();
  std::vector<std::string> answers;
  const auto lines = home.write("lines.txt",
                                "Tom ana matofaa 3.\nวันนี้ 5 + 7\nNani? Roger ana mipira mitano ya tenisi. Ananunua "
                                "makopo mawili zaidi ya mipira ya tenisi, kila moja tatu.\n")
                         .string();
  for (const TextCase& text : kTextCases) {
    SCOPED_TRACE(text.golden);
    const WorkFolder& folder = folders.emplace_back();
    const auto answered = evaluate(1, export_with_text(folder, text) + " --max-new-tokens 8 --input " + lines);
    ASSERT_EQ(answered.code, 0) << answered.output;
    answers.push_back(answered.output);
    jobs.push_back({{"folder", folder.path("python").string()},
                    {"lines", lines},
                    {"language", text.language},
                    {"tokenizers", {{"llm", (kGolden / "models" / text.tokenizer).string()}}}});
  }
  jobs.push_back(jobs.back());
  jobs.back().erase("tokenizers");  // transformers 5 on Mistral's: no space before the first word
  const json outputs = python(home, jobs);
  for (size_t i = 0; i < answers.size(); ++i) {
    SCOPED_TRACE(kTextCases[i].golden);
    ASSERT_FALSE(outputs[i].contains("refused")) << outputs[i];
    std::string expected;
    for (const std::string text : outputs[i].at("texts")) {
      for (const char c : text) expected += c == '\n' ? "\\n" : std::string(1, c);
      expected += "\n";
    }
    EXPECT_EQ(answers[i], expected);
  }
  EXPECT_THAT(outputs.back().value("refused", "not refused"),
              AllOf(HasSubstr("the tokenizer of LayAlign's llm"), HasSubstr("but in training it was [")));
}

class HuggingFaceFolder : public testing::Test {
 protected:
  void SetUp() override { export_golden(folder, golden, " --encoder-name google/mt5-xl --llm-name meta/llama"); }

  std::string at(const std::string& name) const { return folder.path(name).string(); }
  static std::string model(const std::string& name) { return (kGolden / "models" / name).string(); }

  /// A job with other models; nothing: those that the folder names.
  json job(const json& models) const {
    return {{"folder", at("python")}, {"samples", golden.input}, {"models", models}};
  }

  WorkFolder folder;
  GoldenInput golden{folder, "mt5-llama-stage2-Linear", "mt5", model("llama"), 1};
};

TEST_F(HuggingFaceFolder, IsVerifiedToItsLastFile) {
  for (const std::string name :
       {"adapter.safetensors", "config.json", "generation_config.json", "modeling_layalign.py"}) {
    const std::string content = read_file(at("python/" + name));
    for (const size_t place : {size_t{0}, content.size() / 2, content.size() - 1}) {
      std::string changed = content;
      changed[place] = static_cast<char>(changed[place] ^ 1);
      std::ofstream(at("python/" + name), std::ios::binary) << changed;
      const Outcome outcome = checkpoint("verify " + at("python"));
      EXPECT_EQ(outcome.code, 65) << name << " at byte " << place;
      EXPECT_THAT(outcome.output, HasSubstr("BAD  " + at("python/" + name)));
    }
    if (name != "adapter.safetensors") {
      std::ofstream(at("python/" + name), std::ios::trunc).flush();
      const Outcome emptied = checkpoint("verify " + at("python"));
      std::filesystem::remove(at("python/" + name));
      const Outcome missing = checkpoint("verify " + at("python"));
      for (const Outcome& outcome : {emptied, missing}) {
        EXPECT_EQ(outcome.code, 65) << name;
        EXPECT_THAT(outcome.output, HasSubstr("BAD  " + at("python/" + name)));
      }
    }
    std::ofstream(at("python/" + name), std::ios::binary) << content;
  }
  std::ofstream(at("python/README.md")) << "edited";  // a model card is for people to complete
  EXPECT_EQ(checkpoint("verify " + at("python")).code, 0);
}

TEST_F(HuggingFaceFolder, IsAnAdapterToo) {
  EXPECT_EQ(checkpoint("diff " + at("python") + " " + at("weights.safetensors")).code, 0);
  EXPECT_EQ(checkpoint("verify " + at("python")).code, 0);
  const auto config = json::parse(read_file(at("python/config.json")));
  EXPECT_EQ(config["encoder"], "google/mt5-xl");
  EXPECT_EQ(config["auto_map"]["AutoModelForCausalLM"], "modeling_layalign.LayAlignForCausalLM");
  EXPECT_EQ(config["torch_dtype"], "float32");
  EXPECT_TRUE(config["prompt_template"].is_null());
  EXPECT_TRUE(read_file(at("python/modeling_layalign.py")) ==  // too long to be printed
              read_file(LAYALIGN_SOURCE_DIR "/checkpoints_tools/modeling_layalign.py"));
  EXPECT_THAT(read_file(at("python/README.md")),
              AllOf(HasSubstr("library_name: transformers\n"), HasSubstr("- \"google/mt5-xl\""),
                    HasSubstr("encoder=\"google/mt5-xl\", llm=\"meta/llama\"")));
}

TEST_F(HuggingFaceFolder, IsWrittenAgainByPythonAndRefusesOtherModels) {
  const json right = {{"encoder", model("mt5")}, {"llm", model("llama")}};
  json saved = job(right), unfit = job(right);
  saved["save"] = at("again");
  unfit["folder"] = at("unfit");
  fs::copy(at("python"), at("unfit"));
  replace_in_file(folder.path("unfit/config.json"), "\"gate\": \"scalar\"", "\"gate\": \"dynamic\"");
  const json jobs = {job(right),
                     saved,
                     job({{"encoder", at("nowhere")}}),
                     job({{"encoder", model("mt5")}}),
                     job({{"encoder", model("t5")}, {"llm", model("llama")}}),
                     job({{"encoder", model("mt5")}, {"llm", model("qwen2")}}),
                     unfit};
  const std::vector<std::vector<std::string>> refusals = {
      {"LayAlign's encoder cannot be loaded from '" + at("nowhere") + "'", "from_pretrained(..., encoder=...)"},
      {"LayAlign's llm cannot be loaded from 'meta/llama'", "from_pretrained(..., llm=...)"},
      {"LayAlign's encoder '" + model("t5") + "' is a model of type t5", "the adapter was trained with mt5"},
      {"is a model of type qwen2", "the adapter was trained with llama"},
      {"adapter.safetensors does not fit config.json", "gates.bias: config.json means (", "the file has None"}};
  const json outputs = python(folder, jobs);
  EXPECT_EQ(outputs[0], outputs[1]);
  EXPECT_TRUE(outputs[0].contains("loss")) << outputs[0];
  EXPECT_EQ(checkpoint("diff " + at("again") + " " + at("weights.safetensors")).code, 0);
  for (size_t i = 0; i < refusals.size(); ++i) {
    const std::string message = outputs[i + 2].value("refused", "not refused");
    for (const auto& text : refusals[i]) EXPECT_THAT(message, HasSubstr(text));
  }
}

TEST_F(HuggingFaceFolder, ExportNeedsTheModelsOfTheConfig) {
  const std::string command = "export " + at("weights.safetensors") + " --format huggingface --config " + at("c.json");
  EXPECT_EQ(checkpoint(command + " -o " + at("python")).code, 2);  // never replaced
  const auto forced = checkpoint(command + " --force -o " + at("x"));
  EXPECT_EQ(forced.code, 2);
  EXPECT_THAT(forced.output, HasSubstr("a folder is never replaced"));
  replace_in_file(folder.path("c.json"), model("llama"), at("gone"));
  const auto gone = checkpoint(command + " -o " + at("x"));
  EXPECT_EQ(gone.code, 65) << gone.output;
  EXPECT_THAT(gone.output, HasSubstr(at("gone")));
  EXPECT_FALSE(fs::exists(at("x")));
}

TEST(HuggingFace, RepresentationsAreTheMeansOfItsStates) {
  const WorkFolder folder;
  const std::string models = LAYALIGN_SOURCE_DIR "/tests/miniature/models/";
  const json config = {
      {"model", {{"encoder", models + "encoder"}, {"llm", models + "llm"}}},
      {"data", {{"root", LAYALIGN_TEST_DATA}}},
      {"parallel", {{"device", "cpu"}}},
      {"stages",
       {{{"corpus", {{"format", "msvamp"}}}, {"prompt", true}, {"max_source_tokens", 400}, {"max_target_tokens", 1200}}}}};
  const std::string out = folder.path("out").string();
  auto outcome = evaluate(1, folder.write("c.json", config.dump()).string() +
                                 " --task representations --untrained --limit 4 --compare llm,layalign --output " + out);
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  outcome = run_command("HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 TRANSFORMERS_VERBOSITY=error HF_HOME=" +
                        folder.path("home").string() + " " LAYALIGN_TEST_PYTHON " " LAYALIGN_SOURCE_DIR
                        "/tests/cli/representations_reference.py " + models + " " LAYALIGN_TEST_DATA "/evaluation/msvamp " +
                        out + "/llm/representations_untrained.h5 " + out + "/layalign/representations_untrained.h5");
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  const auto differences = json::parse(outcome.output.substr(outcome.output.rfind('['))).get<std::vector<double>>();
  ASSERT_EQ(differences.size(), 2u);
  for (const double difference : differences) EXPECT_LT(difference, 1e-5) << outcome.output;  // float32 sums regrouped
}

}  // namespace
}  // namespace layalign::test
