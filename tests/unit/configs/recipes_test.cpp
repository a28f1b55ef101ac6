#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <vector>

#include "configs/languages.h"
#include "tests/unit/configs/config_files.h"

namespace layalign::configs::testing {
namespace {

using ::testing::IsEmpty;

const std::filesystem::path kFolder = std::filesystem::path(LAYALIGN_SOURCE_DIR) / "configs";

std::string codes(const std::vector<std::string>& languages) {
  std::string text;
  for (const std::string& name : languages) text.append(text.empty() ? "" : " ").append(language_code(name).value());
  return text;
}

TEST(ShippedConfigs, LoadAndReadBackFromTheirOwnYaml) {
  size_t files = 0;
  for (const auto& file : std::filesystem::directory_iterator(kFolder)) {
    if (file.path().extension() != ".yaml") continue;
    ++files;
    SCOPED_TRACE(file.path());
    const RunConfig config = load_config(file.path());
    EXPECT_THAT(differences(config, load_text(to_yaml(config))), IsEmpty());
  }
  EXPECT_GE(files, 3u);
}

struct Recipe {
  const char* file;
  const char* output;
  const char* llm;
  const char* languages;  ///< of stage 1
  const char* format;     ///< of stage 2
  int64_t micro_batch;
  int64_t max_tokens;
};

class PaperRecipe : public ::testing::TestWithParam<Recipe> {};

TEST_P(PaperRecipe, HasThePapersNumbers) {
  const Recipe& recipe = GetParam();
  const RunConfig config = load_config(kFolder / recipe.file);
  EXPECT_EQ(config.output, recipe.output);
  EXPECT_EQ(config.seed, 0);
  EXPECT_EQ(config.model.encoder, "models/mt5-xl");
  EXPECT_EQ(config.model.llm, recipe.llm);
  EXPECT_EQ(config.model.structure, "Linear");
  EXPECT_EQ(config.parallel.tensor, 1);
  EXPECT_EQ(config.parallel.precision, "bfloat16");
  EXPECT_EQ(config.data.root, "datas");
  EXPECT_EQ(config.optimizer.betas, (std::array{0.8, 0.999}));
  EXPECT_EQ(config.optimizer.eps, 1e-8);
  EXPECT_EQ(config.optimizer.weight_decay, 3e-7);
  EXPECT_EQ(config.optimizer.clip_norm, 1.0);
  EXPECT_EQ(config.schedule.name, "cosine");
  EXPECT_EQ(config.schedule.warmup, 0.05);

  ASSERT_EQ(config.stages.size(), 2u);
  const StageConfig& translation = config.stages[0];
  EXPECT_EQ(translation.name, "translation");
  EXPECT_EQ(translation.corpus.format, "bilingual_pairs");
  EXPECT_EQ(codes(translation.corpus.languages), recipe.languages);
  EXPECT_EQ(translation.corpus.train_num, 100000);
  EXPECT_FALSE(translation.prompt);
  EXPECT_EQ(translation.lr, 4e-5);
  EXPECT_EQ(translation.micro_batch, 8);
  EXPECT_EQ(translation.max_source_tokens, 200);
  EXPECT_EQ(translation.max_target_tokens, 200);

  const StageConfig& task = config.stages[1];
  EXPECT_EQ(task.name, "task");
  EXPECT_EQ(task.corpus.format, recipe.format);
  EXPECT_TRUE(task.prompt);
  EXPECT_EQ(task.lr, 3e-5);
  EXPECT_EQ(task.micro_batch, recipe.micro_batch);
  EXPECT_EQ(task.max_source_tokens, recipe.max_tokens);
  EXPECT_EQ(task.max_target_tokens, recipe.max_tokens);
  for (const StageConfig& stage : config.stages) {
    EXPECT_EQ(stage.epochs, 3);
    EXPECT_EQ(stage.global_batch, 128);
    EXPECT_EQ(stage.dev_size, 3000);
    EXPECT_EQ(stage.eval_every, 200);
  }
}

INSTANTIATE_TEST_SUITE_P(, PaperRecipe,
                         ::testing::Values(Recipe{"math.yaml", "runs/math", "models/MetaMath-7B-V1.0",
                                                  "bn th sw ja zh de fr ru es", "metamath", 2, 512},
                                           Recipe{"x_csqa.yaml", "runs/x_csqa", "models/LLaMAX2-7B-X-CSQA",
                                                  "ur hi sw ja vi pl zh nl ru it de pt fr es ar", "x_csqa", 8, 200},
                                           Recipe{"xnli.yaml", "runs/xnli", "models/LLaMAX2-7B-XNLI",
                                                  "sw ur hi th ar tr el vi zh ru bg de fr es", "xnli", 8, 200}),
                         [](const auto& info) { return std::string(info.param.format); });

TEST(ShippedConfigs, MathTrainsOnTheCodesNineLanguages) {
  const RunConfig config = load_config(kFolder / "math.yaml");
  EXPECT_EQ(codes(config.stages.at(1).corpus.languages), "bn th sw ja zh de fr ru es");
  EXPECT_EQ(config.stages[1].corpus.train_num, 30000);
}

}  // namespace
}  // namespace layalign::configs::testing
