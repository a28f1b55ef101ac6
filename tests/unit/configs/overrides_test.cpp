#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/configs/config_files.h"

namespace layalign::configs::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(Overrides, SetKeysOfEveryKind) {
  const RunConfig config = load_text(kMinimal + "seed: 3\ndata:\n",
                                     {"seed=4", "optimizer.eps=1e-6", "stages.0.lr=1e-4", "model.encoder_layers=[0, 2]",
                                      "data.root=d d", "stages.0.corpus={format: xnli, languages: [Urdu]}",
                                      "output=\"1\"", "seed=5", "model.init=null", "model.llm=a=b"});
  EXPECT_EQ(config.seed, 5);
  EXPECT_EQ(config.optimizer.eps, 1e-6);
  EXPECT_EQ(config.stages.at(0).lr, 1e-4);
  EXPECT_THAT(config.model.encoder_layers.list, ElementsAre(0, 2));
  EXPECT_EQ(config.data.root, "d d");
  EXPECT_EQ(config.stages[0].corpus.format, "xnli");
  EXPECT_EQ(config.stages[0].corpus.path, std::nullopt);
  EXPECT_EQ(config.output, "1");
  EXPECT_EQ(config.model.init, std::nullopt);
  EXPECT_EQ(config.model.llm, "a=b");
}

TEST(Overrides, GiveRequiredKeysThatTheFileLacks) {
  const RunConfig config =
      load_text("", {"model.encoder=e", "model.llm=m", "stages=[{corpus: {format: jsonl}}]", "stages.0.corpus.path=a"});
  EXPECT_EQ(config.model.llm, "m");
  EXPECT_EQ(config.stages.at(0).corpus.path, "a");
}

TEST(Overrides, AreReadAsStrictlyAsTheFile) {
  EXPECT_THAT(
      problems_of(kMinimal + "sed: 1\n",
                  {"seed=010", "optimzer.eps=1", "log.every=", "stages.0.corpus.task=x", "seeed=1"}),
      ElementsAre(
          "c.yaml:4:1: unknown key 'sed'; did you mean 'seed'?",
          "--set optimzer.eps: unknown key 'optimzer'; did you mean 'optimizer'?",
          "--set seeed: unknown key 'seeed'; did you mean 'seed'?",
          StartsWith("--set seed: 'seed': expected an integer of at least 0, got '010'"),
          HasSubstr("--set stages.0.corpus.task: 'stages.0.corpus.task': expected one of answer, translation, got 'x'"),
          HasSubstr("--set log.every: 'log.every': expected an integer of at least 1, got nothing")));
}

TEST(Overrides, AreRefusedTogetherWhereTheyHaveNoPlace) {
  EXPECT_THAT(
      problems_of(kMinimal, {"seed", "=1", "a..b=1", ".a=1", "stages.1.lr=1", "stages.x.lr=1", "model.llm.x=1",
                             "seed=[1", "seed=&a 1", "seed=\xFF"}),
      ElementsAre("--set seed: expected KEY=VALUE, such as --set optimizer.eps=1e-6", HasSubstr("expected KEY=VALUE"),
                  HasSubstr("expected KEY=VALUE"), HasSubstr("expected KEY=VALUE"),
                  "--set stages.1.lr: no item '1' in the list: expected 0 to 0",
                  "--set stages.x.lr: no item 'x' in the list: expected 0 to 0",
                  "--set model.llm.x: 'model.llm' is a single value, with no keys in it",
                  HasSubstr("is a bracket not closed?"), HasSubstr("anchors"), HasSubstr("invalid UTF-8")));
}

}  // namespace
}  // namespace layalign::configs::testing
