#include "configs/base.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/unit/configs/config_files.h"

namespace layalign::configs::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAreArray;

const std::string kBase = R"(
output: below
model: {encoder: e, llm: m, structure: MLP}
stages:
  - {name: one, corpus: {format: jsonl, path: a}, lr: 1.0e-3}
  - {name: two, corpus: {format: jsonl, path: b}, prompt: true}
)";

class Base : public ::testing::Test {
 protected:
  Base() { folder.write("below.yaml", kBase); }
  RunConfig load(const std::string& text, const std::vector<std::string>& overrides = {}) const {
    return load_config(folder.write("c.yaml", text), overrides);
  }
  std::string refusal(const std::string& text) const {
    try {
      load(text);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "no error";
  }

  TemporaryFolder folder;
};

TEST_F(Base, KeysAreLaidOverTheBase) {
  const auto config = load("base: below.yaml\noutput: above\nmodel: {llm: other}\noptimizer: {eps: 1.0e-6}\n");
  EXPECT_EQ(config.output, "above");
  EXPECT_EQ(config.model.encoder, "e");
  EXPECT_EQ(config.model.llm, "other");
  EXPECT_EQ(config.model.structure, "MLP");
  EXPECT_EQ(config.optimizer.eps, 1e-6);
  EXPECT_EQ(config.stages.size(), 2u);
}

TEST_F(Base, StagesAreMeantByNameOrPlace) {
  const auto config = load("base: below.yaml\nstages: {two: {prompt: false}, 0: {corpus: {path: c}}}\n");
  EXPECT_FALSE(config.stages[1].prompt);
  EXPECT_EQ(config.stages[0].corpus.path, "c");
  EXPECT_EQ(config.stages[0].corpus.format, "jsonl");
  EXPECT_EQ(config.stages[0].lr, 1e-3);
  EXPECT_EQ(load("base: below.yaml\nstages: {one: null}\n").stages[0].name, "two");
  EXPECT_EQ(load("base: below.yaml\nstages: {1: ~}\n").stages[0].name, "one");
}

TEST_F(Base, AListReplacesAList) {
  const auto config = load("base: below.yaml\nstages: [{name: three, corpus: {format: jsonl, path: c}}]\n");
  ASSERT_EQ(config.stages.size(), 1u);
  EXPECT_EQ(config.stages[0].name, "three");
}

TEST_F(Base, BasesAreChained) {
  folder.write("middle.yaml", "base: below.yaml\noutput: middle\nseed: 4\n");
  const auto config = load("base: middle.yaml\noutput: above\n", {"seed=5"});
  EXPECT_EQ(config.output, "above");
  EXPECT_EQ(config.seed, 5);
  EXPECT_EQ(config.folder, folder.path());
}

TEST_F(Base, MistakesAreNamedWhereTheyStand) {
  EXPECT_THAT(refusal("base: none.yaml\n"), HasSubstr("c.yaml:1:7: 'base':"));
  EXPECT_THAT(refusal("base: none.yaml\n"), HasSubstr("none.yaml"));
  EXPECT_THAT(refusal("base: c.yaml\n"), HasSubstr("leads back to itself"));
  EXPECT_THAT(refusal("base: [below.yaml]\n"), HasSubstr("c.yaml:1:7: 'base': expected the path"));
  EXPECT_THAT(refusal("base: below.yaml\nstages: {three: {prompt: true}}\n"), HasSubstr("c.yaml:2:10: the list of the base has no item 'three'"));
  EXPECT_THAT(refusal("base: below.yaml\nsede: 1\n"), HasSubstr("c.yaml:2:1: unknown key 'sede'"));
  EXPECT_THAT(refusal("base: below.yaml\nseed: 1\nseed: 2\n"), HasSubstr("seed"));
  folder.write("below.yaml", kBase + "outptu: x\n");
  EXPECT_THAT(refusal("base: below.yaml\n"), HasSubstr("below.yaml:7:1: unknown key 'outptu'"));
}

/// What each shipped ablation changes in the paper's recipe, besides its output.
TEST(Ablations, ChangeWhatTheirNamesSay) {
  const std::filesystem::path configs = std::filesystem::path(LAYALIGN_SOURCE_DIR) / "configs";
  const auto recipe = load_config(configs / "math.yaml");
  const std::map<std::string, std::vector<std::string>> expected = {
      {"dynamic_gate", {"model.gate: scalar != dynamic"}},
      {"first_8_layers", {"model.encoder_layers: default != first 8"}},
      {"langbridge", {"model.mapping: mlp != linear", "model.aligner: layer_wise != none", "stages.1.prompt: true != false"}},
      {"last_8_layers", {"model.encoder_layers: default != last 8"}},
      {"last_layer_only", {"model.encoder_layers: default != [24]"}},
      {"mgpt_encoder", {"model.encoder: models/mt5-xl != models/mGPT"}},
      {"middle_8_layers", {"model.encoder_layers: default != middle 8"}},
      {"mindmerger", {"model.aligner: layer_wise != none"}},
      {"nllb_encoder", {"model.encoder: models/mt5-xl != models/nllb-200-3.3B"}},
      {"no_gate", {"model.gate: scalar != none"}},
      {"no_mapping", {"model.mapping: mlp != none"}},
      {"no_prompt", {"stages.1.prompt: true != false"}},
      {"prompt_in_both_stages", {"stages.0.prompt: false != true"}},
      {"structure_mlp", {"model.structure: Linear != MLP"}},
      {"uniform_mean", {"model.aligner: layer_wise != uniform_mean"}},
      {"xglm_encoder", {"model.encoder: models/mt5-xl != models/xglm-2.9B"}}};
  for (const auto& [name, changes] : expected) {
    const auto config = load_config(configs / "ablations" / (name + ".yaml"));
    auto wanted = changes;
    wanted.push_back("output: runs/math != runs/" + name);
    EXPECT_THAT(differences(recipe, config), UnorderedElementsAreArray(wanted)) << name;
  }
  // The two that take a stage away.
  const auto task = load_config(configs / "ablations/no_stage_1.yaml"), translation = load_config(configs / "ablations/no_stage_2.yaml");
  ASSERT_EQ(task.stages.size(), 1u);
  ASSERT_EQ(translation.stages.size(), 1u);
  EXPECT_EQ(task.stages[0].name, "task");
  EXPECT_EQ(translation.stages[0].name, "translation");
  size_t files = 0;
  for (const auto& file : std::filesystem::directory_iterator(configs / "ablations")) files += file.path().extension() == ".yaml";
  EXPECT_EQ(files, expected.size() + 2);
}

}  // namespace
}  // namespace layalign::configs::testing
