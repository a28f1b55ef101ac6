// layalign-checkpoint export --format huggingface: what transformers computes with the folder is what the programs compute.
#include <fstream>

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

/// huggingface_outputs.py, with what transformers keeps in the test's own folder, and without a network.
Outcome python(const WorkFolder& folder, const std::string& arguments) {
  return run_command("cd " LAYALIGN_SOURCE_DIR " && HF_HOME=" + folder.path("home").string() +
                     " HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 TRANSFORMERS_VERBOSITY=error " +
                     LAYALIGN_TEST_PYTHON + " tests/cli/huggingface_outputs.py " + arguments);
}

/// The JSON object of the last line.
json outputs_of(const Outcome& outcome) {
  EXPECT_EQ(outcome.code, 0) << outcome.output;
  const auto begin = outcome.output.rfind("\n{");
  return json::parse(begin == std::string::npos ? outcome.output : outcome.output.substr(begin + 1));
}

/// Initial weights of a golden file, exported to `folder`/python.
void export_golden(const WorkFolder& folder, const GoldenInput& golden, const std::string& options = "") {
  const std::string weights = folder.path("weights.safetensors").string();
  Outcome outcome = checkpoint("import " + golden.path.string() + " -o " + weights);
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  outcome = checkpoint("export " + weights + " --format huggingface --config " + folder.path("c.json").string() + " -o " +
                       folder.path("python").string() + options);
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

void PrintTo(const ExportCase& c, std::ostream* out) { *out << c.golden; }

class HuggingFace : public testing::TestWithParam<ExportCase> {};

TEST_P(HuggingFace, GivesTheSameLossesAndIds) {
  const WorkFolder folder;
  const auto& [name, encoder, llm] = GetParam();
  const GoldenInput golden(folder, name, encoder, (kGolden / "models" / llm).string(), 1);
  export_golden(folder, golden);
  const auto evaluated =
      evaluate(1, golden.arguments + " --input " + golden.input + " --output " + folder.path("out").string());
  ASSERT_EQ(evaluated.code, 0) << evaluated.output;
  const Ids ids = written_ids(folder.path("out"));

  const json made = outputs_of(python(folder, folder.path("python").string() + " ids " + golden.input));
  const double loss = trained_loss(folder, golden);
  EXPECT_NEAR(made.at("loss").get<double>() / loss, 1, kLossTolerance);
  EXPECT_NEAR(made.at("loss_alone").get<double>() / loss, 1, kLossTolerance);
  for (const char* way : {"ids", "ids_alone", "ids_without_cache"}) EXPECT_EQ(made.at(way).get<Ids>(), ids) << way;
  EXPECT_EQ(made.at("ids_twice").get<Ids>(), each_twice(ids));
}

INSTANTIATE_TEST_SUITE_P(
    Program, HuggingFace,
    testing::Values(ExportCase{"mt5-llama-stage2-some-layers", "mt5", "llama"},
                    ExportCase{"mt5-llama-gqa-stage1-langbridge", "mt5", "llama-gqa"},
                    ExportCase{"mt5-mistral-stage2-dynamic_gate", "mt5", "mistral"},
                    ExportCase{"mt5-mistral-stage1-no_mapping", "mt5", "mistral"},
                    ExportCase{"mt5-qwen2-tied-stage2-uniform_mean", "mt5", "qwen2-tied"},
                    ExportCase{"mt5-qwen3-stage2-Linear", "mt5", "qwen3"},
                    ExportCase{"t5-llama-bias-stage2-MLP", "t5", "llama-bias"},
                    ExportCase{"nllb-llama-gqa-stage2-MLP", "nllb", "llama-gqa"},
                    ExportCase{"m2m-qwen2-tied-stage1-Linear", "m2m", "qwen2-tied"},
                    ExportCase{"xlmr-mistral-stage1-Linear", "xlmr", "mistral"},
                    ExportCase{"gpt2-qwen2-tied-stage2-Linear", "gpt2", "qwen2-tied"},
                    ExportCase{"qwen3-qwen2-tied-stage2-Linear", "qwen3", "qwen2-tied"}));

/// A stage of text with prompts, on models with tokenizers.
struct TextCase {
  std::string golden, encoder, llm, task, language;
};

void PrintTo(const TextCase& c, std::ostream* out) { *out << c.golden << ", " << c.task; }

class HuggingFaceText : public testing::TestWithParam<TextCase> {};

TEST_P(HuggingFaceText, ReadsAndWritesTheSameText) {
  const WorkFolder folder;
  const auto& [name, encoder, llm, task, language] = GetParam();
  GoldenInput golden(folder, name, encoder, (kGolden / "models" / llm).string(), 1);
  golden.config["stages"][0] = {{"corpus", {{"format", "msvamp"}, {"task", task}}},
                                {"prompt", true},
                                {"max_source_tokens", 12},  // the last line is cut
                                {"max_target_tokens", 60}};
  golden.config["data"] = {{"root", LAYALIGN_TEST_DATA}};
  const auto config = folder.write("c.json", golden.config.dump()).string();
  export_golden(folder, golden);
  const auto lines = folder.write("lines.txt", "Tom ana matofaa 3.\nวันนี้ 5 + 7\nNani? Roger ana mipira mitano ya tenisi. "
                                               "Ananunua makopo mawili zaidi ya mipira ya tenisi, kila moja tatu.\n")
                         .string();
  const auto answered = evaluate(1, config + " --checkpoint " + golden.path.string() + " --task text --languages " +
                                        language + " --max-new-tokens 8 --input " + lines);
  ASSERT_EQ(answered.code, 0) << answered.output;
  const json made = outputs_of(python(folder, folder.path("python").string() + " text " + lines + " " + language));
  std::string expected;
  for (const std::string text : made.at("texts")) {
    for (const char c : text) expected += c == '\n' ? "\\n" : std::string(1, c);
    expected += "\n";
  }
  EXPECT_EQ(answered.output, expected);
}

INSTANTIATE_TEST_SUITE_P(Program, HuggingFaceText,
                         testing::Values(TextCase{"mt5-llama-stage2-Linear", "mt5", "llama", "answer", "Swahili"},
                                         TextCase{"nllb-llama-gqa-stage2-MLP", "nllb", "llama-gqa", "translation",
                                                  "Swahili"},
                                         TextCase{"xlmr-mistral-stage1-Linear", "xlmr", "mistral", "answer", "Thai"}));

class HuggingFaceFolder : public testing::Test {
 protected:
  void SetUp() override { export_golden(folder, golden, " --encoder-name google/mt5-xl --llm-name meta/llama"); }

  std::string at(const std::string& name) const { return folder.path(name).string(); }
  static std::string model(const std::string& name) { return (kGolden / "models" / name).string(); }

  void expect_refused(const std::string& options, const std::vector<std::string>& texts) {
    const auto outcome = python(folder, at("python") + " ids " + golden.input + options);
    EXPECT_EQ(outcome.code, 3) << outcome.output;
    for (const auto& text : texts) EXPECT_THAT(outcome.output, HasSubstr(text));
  }

  WorkFolder folder;
  GoldenInput golden{folder, "mt5-llama-stage2-Linear", "mt5", model("llama"), 1};
};

TEST_F(HuggingFaceFolder, IsAnAdapterToo) {
  EXPECT_EQ(checkpoint("diff " + at("python") + " " + at("weights.safetensors")).code, 0);
  EXPECT_EQ(checkpoint("verify " + at("python")).code, 0);
  const auto config = json::parse(read_file(at("python/config.json")));
  EXPECT_EQ(config["encoder"], "google/mt5-xl");
  EXPECT_EQ(config["auto_map"]["AutoModelForCausalLM"], "modeling_layalign.LayAlignForCausalLM");
  EXPECT_EQ(config["torch_dtype"], "float32");
  EXPECT_TRUE(config["prompt_template"].is_null());
  EXPECT_EQ(read_file(at("python/modeling_layalign.py")),
            read_file(LAYALIGN_SOURCE_DIR "/checkpoints_tools/modeling_layalign.py"));
  EXPECT_THAT(read_file(at("python/README.md")),
              AllOf(HasSubstr("library_name: transformers\n"), HasSubstr("- \"google/mt5-xl\""),
                    HasSubstr("encoder=\"google/mt5-xl\", llm=\"meta/llama\"")));
}

TEST_F(HuggingFaceFolder, IsWrittenAgainByPython) {
  const std::string models = " --encoder " + model("mt5") + " --llm " + model("llama");
  const auto made = outputs_of(
      python(folder, at("python") + " ids " + golden.input + models + " --save " + at("again")));
  const auto first = outputs_of(python(folder, at("python") + " ids " + golden.input + models));
  EXPECT_EQ(made, first);
  EXPECT_EQ(checkpoint("diff " + at("again") + " " + at("weights.safetensors")).code, 0);
}

TEST_F(HuggingFaceFolder, PythonNamesTheModelThatIsMissingOrAnother) {
  expect_refused(" --encoder " + at("nowhere"),
                 {"LayAlign's encoder cannot be loaded from '" + at("nowhere") + "'", "from_pretrained(..., encoder=...)"});
  expect_refused(" --encoder " + model("mt5"), {"LayAlign's llm cannot be loaded from 'meta/llama'"});
  expect_refused(" --encoder " + model("t5") + " --llm " + model("llama"),
                 {"LayAlign's encoder '" + model("t5") + "' is a model of type t5", "the adapter was trained with mt5"});
  expect_refused(" --encoder " + model("mt5") + " --llm " + model("qwen2"),
                 {"is a model of type qwen2", "the adapter was trained with llama"});
}

TEST_F(HuggingFaceFolder, PythonNamesWeightsThatDoNotFit) {
  replace_in_file(folder.path("python/config.json"), "\"gate\": \"scalar\"", "\"gate\": \"dynamic\"");
  expect_refused(" --encoder " + model("mt5") + " --llm " + model("llama"),
                 {"adapter.safetensors does not fit config.json", "gates.bias: config.json means (", "the file has None"});
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

}  // namespace
}  // namespace layalign::test
