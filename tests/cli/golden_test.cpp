// The real program against the golden numbers: ids in, metrics.jsonl and trainables.safetensors out.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "checkpoints_tools/safetensors.h"
#include "tests/cli/program.h"

namespace layalign::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Case {
  std::string golden, encoder, llm;
  int ranks, tensor;
  std::string precision = "float32", recompute = "none";
  // AdamW amplifies the rounding of small gradients after the first step; bfloat16 keeps 8 bits.
  double first_tolerance = 1e-5, later_tolerance = 1e-4, final_tolerance = 5e-4;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.golden << " on " << c.ranks << " ranks, tensor " << c.tensor << ", " << c.precision << ", recompute " << c.recompute;
}

class GoldenRun : public testing::TestWithParam<Case> {};

TEST_P(GoldenRun, TrajectoryAndFinalWeights) {
  const auto& param = GetParam();
  const fs::path data = fs::path(LAYALIGN_TEST_DATA) / "golden";
  const auto file = data / (param.golden + ".safetensors");
  const checkpoints_tools::SafetensorsFile golden(file);
  const auto& metadata = golden.metadata();
  const WorkFolder folder;
  std::string corpus;
  const auto samples = json::parse(metadata.at("samples"));
  for (const auto& sample : samples) corpus += sample.dump() + "\n";
  folder.write("corpus.jsonl", corpus);
  const json stage = {{"name", "golden"}, {"corpus", {{"format", "token_ids"}, {"path", "corpus.jsonl"}}}, {"prompt", true},
                      {"epochs", 5}, {"global_batch", samples.size()}, {"micro_batch", 2}, {"dev_size", 0},
                      {"lr", std::stod(metadata.at("lr"))}};
  const json config = {
      {"output", folder.path("out").string()},
      {"model", {{"encoder", (data / "models" / param.encoder).string()}, {"llm", (data / "models" / param.llm).string()},
                 {"encoder_layers", json::parse(metadata.at("encoder_layers"))},
                 {"language_layers", json::parse(metadata.at("language_layers"))},
                 {"structure", metadata.at("structure")}, {"init", file.string()}}},
      {"parallel", {{"tensor", param.tensor}, {"device", "cpu"}, {"precision", param.precision}, {"recompute", param.recompute}}},
      {"stages", {stage}},
      {"optimizer", {{"eps", std::stod(metadata.at("eps"))}}},
      {"schedule", {{"name", "constant"}, {"warmup", 0.0}}}};
  const auto outcome = train(param.ranks, folder.write("config.json", config.dump()).string());
  ASSERT_EQ(outcome.code, 0) << outcome.output;

  const auto losses = golden.read("trajectory.loss"), norms = golden.read("trajectory.grad_norm");
  std::ifstream metrics(folder.path("out") / "metrics.jsonl");
  std::string line;
  int64_t step = 0;
  for (; std::getline(metrics, line); ++step) {
    const auto values = json::parse(line);
    const double tolerance = step == 0 ? param.first_tolerance : param.later_tolerance;
    EXPECT_NEAR(values["loss"].get<double>() / losses[step].item<double>(), 1, tolerance) << "step " << step;
    EXPECT_NEAR(values["grad_norm"].get<double>() / norms[step].item<double>(), 1, 20 * tolerance) << "step " << step;
  }
  EXPECT_EQ(step, losses.numel());
  const checkpoints_tools::SafetensorsFile last(folder.path("out") / "1-golden/trainables.safetensors");
  for (const auto& [name, info] : last.tensors()) {
    const auto expected = golden.read("final." + name);
    const double error = (last.read(name) - expected).abs().max().item<double>();
    EXPECT_LT(error, param.final_tolerance * expected.abs().max().item<double>()) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Program, GoldenRun,
    testing::Values(Case{"mt5-llama-gqa-stage1-Linear", "mt5", "llama-gqa", 1, 1},
                    Case{"mt5-qwen2-stage2-Linear", "mt5", "qwen2", 4, 2},
                    Case{"t5-llama-bias-stage2-MLP", "t5", "llama-bias", 3, 3},
                    Case{"mt5-llama-stage2-some-layers", "mt5", "llama", 4, 4, "float32", "full"},
                    Case{"mt5-mistral-stage2-MLP", "mt5", "mistral", 2, 2, "bfloat16", "none", 0.01, 0.01, 0.02}));

}  // namespace
}  // namespace layalign::test
