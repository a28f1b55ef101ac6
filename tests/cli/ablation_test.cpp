// Every file of configs/ablations trains: the shipped config on tiny models, with as little changed as that needs.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/cli/program.h"

namespace layalign::test {
namespace {

const std::string kModels = LAYALIGN_TEST_DATA "/golden/models/";

struct Case {
  std::string name;
  int stages = 2;
  std::string encoder = "mt5";
  std::string encoder_layers = "";  ///< where the paper's are too many for the tiny encoder of 4 layers
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class Ablation : public testing::TestWithParam<Case> {};

TEST_P(Ablation, Trains) {
  const auto& param = GetParam();
  const WorkFolder folder;
  std::string corpus;
  for (int i = 0; i < 6; ++i) {
    corpus += "{\"source\": [5, " + std::to_string(7 + i) + ", 9, 2], \"prompt\": [11, 12], \"target\": [" +
              std::to_string(20 + i) + ", 14, 2]}\n";
  }
  std::string arguments = "configs/ablations/" + param.name + ".yaml";
  const auto set = [&](const std::string& key, const std::string& value) {
    arguments += " --set '" + key + "=" + value + "'";
  };
  set("output", folder.path("out").string());
  set("model.encoder", kModels + param.encoder);
  set("model.llm", kModels + "mistral");
  if (!param.encoder_layers.empty()) set("model.encoder_layers", param.encoder_layers);
  set("parallel", "{device: cpu, tensor: 2}");
  for (int stage = 0; stage < param.stages; ++stage) {
    const std::string key = "stages." + std::to_string(stage) + ".";
    set(key + "corpus", "{format: token_ids, path: " + folder.write("ids.jsonl", corpus).string() + "}");
    set(key + "dev_size", "0");
    set(key + "max_steps", "3");
    set(key + "global_batch", "6");
    set(key + "lr", "1.0e-2");
  }
  set("schedule", "{name: constant, warmup: 0.0}");
  const auto outcome = train(2, arguments);
  ASSERT_EQ(outcome.code, 0) << outcome.output;

  // The loss falls in every stage: gradients reach what is trained. Of "no gate" the paper says that it does not.
  std::ifstream metrics(folder.path("out") / "metrics.jsonl");
  std::vector<std::vector<double>> losses(param.stages);
  for (std::string line; std::getline(metrics, line);) {
    const auto values = nlohmann::json::parse(line);
    losses[values["stage_number"].get<int>() - 1].push_back(values["loss"].get<double>());
  }
  for (const auto& stage : losses) {
    ASSERT_EQ(stage.size(), 3u);
    if (param.name != "no_gate") {
      EXPECT_LT(stage.back(), stage.front()) << param.name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shipped, Ablation,
    testing::Values(Case{"mindmerger"}, Case{"langbridge"}, Case{"no_mapping"}, Case{"no_prompt"},
                    Case{"prompt_in_both_stages"}, Case{"no_stage_1", 1}, Case{"no_stage_2", 1},
                    Case{"first_8_layers", 2, "mt5", "first 2"}, Case{"middle_8_layers", 2, "mt5", "middle 2"},
                    Case{"last_8_layers", 2, "mt5", "last 2"}, Case{"last_layer_only", 2, "mt5", "[4]"},
                    Case{"uniform_mean"}, Case{"structure_mlp"}, Case{"dynamic_gate"}, Case{"no_gate"},
                    Case{"nllb_encoder", 2, "nllb"}, Case{"xglm_encoder", 2, "xglm"}, Case{"mgpt_encoder", 2, "gpt2"}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace layalign::test
