#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/unit/configs/config_files.h"

namespace layalign::configs::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

// kMinimal has three lines, so `line` is line 4 of the file.
std::vector<std::string> problems_with(const std::string& line) { return problems_of(kMinimal + line); }

TEST(LoadConfig, FillsDefaultsAndNames) {
  const TemporaryFolder folder;
  const RunConfig config = load_config(folder.write("c.yaml", kMinimal));
  EXPECT_EQ(config.model.encoder, "e");
  EXPECT_EQ(config.folder, folder.path().string());
  ASSERT_EQ(config.stages.size(), 1u);
  EXPECT_EQ(config.stages[0].name, "stage-1");
  EXPECT_EQ(config.stages[0].corpus.path, "a.jsonl");
  RunConfig defaults;
  defaults.model.encoder = "e";
  defaults.model.llm = "m";
  defaults.stages.resize(1);
  defaults.stages[0].name = "stage-1";
  defaults.stages[0].corpus.format = "jsonl";
  defaults.stages[0].corpus.path = "a.jsonl";
  EXPECT_THAT(differences(config, defaults), IsEmpty());
}

TEST(LoadConfig, ReadsEveryKindOfValue) {
  const RunConfig config = load_text(R"(
seed: 7
output: "runs/my run"
model: {encoder: e, llm: 'm', encoder_layers: [3, 0, 2], language_layers: all,
        structure: MLP, init: ~, ignore_fields: [a, b]}
parallel: {tensor: 2, sequence: false, device: cuda, precision: bfloat16, threads: 3}
data: {root: datas}
stages:
  - name: warm-up_1.a
    corpus: {format: bilingual_pairs, languages: [Bengali, Thai], train_num: 100}
    max_steps: 5
    dev_size: 0
    lr: 1E-4
  - corpus: {format: msvamp, path: /abs/msvamp, task: translation}
    prompt: true
    dev_size: null
optimizer: {betas: [0, 0.95], clip_norm: 2}
schedule: {name: constant, warmup: 0.0}
)");
  EXPECT_EQ(config.seed, 7);
  EXPECT_EQ(config.output, "runs/my run");
  EXPECT_EQ(config.model.encoder_layers, (LayerList{LayerList::Kind::kList, {3, 0, 2}}));
  EXPECT_EQ(config.model.language_layers.kind, LayerList::Kind::kAll);
  EXPECT_EQ(config.model.init, std::nullopt);
  EXPECT_THAT(config.model.ignore_fields, ElementsAre("a", "b"));
  EXPECT_EQ(config.parallel.threads, 3);
  EXPECT_EQ(config.stages.at(0).name, "warm-up_1.a");
  EXPECT_EQ(config.stages[0].lr, 1e-4);
  EXPECT_EQ(config.stages[0].dev_size, 0);
  EXPECT_EQ(config.stages[0].max_steps, 5);
  EXPECT_EQ(config.stages.at(1).name, "stage-2");
  EXPECT_EQ(config.stages[1].dev_size, std::nullopt);
  EXPECT_TRUE(config.stages[1].prompt);
  EXPECT_EQ(config.optimizer.betas, (std::array{0.0, 0.95}));
  EXPECT_EQ(config.optimizer.clip_norm, 2.0);
}

TEST(LoadConfig, ReadsJsonIndentedOrNot) {
  const std::string minified =
      R"({"model":{"encoder":"e\u00e9\/x","llm":"m"},"stages":[{"corpus":{"format":"jsonl","path":"a"},"lr":1e-05,)"
      R"("max_steps":null,"prompt":true}],"optimizer":{"eps":1E-4,"betas":[0.5,4.0e-5]}})";
  const RunConfig config = load_text(minified);
  EXPECT_EQ(config.model.encoder, "eé/x");
  EXPECT_EQ(config.stages.at(0).lr, 1e-5);
  EXPECT_EQ(config.optimizer.eps, 1e-4);
  EXPECT_EQ(config.optimizer.betas[1], 4e-5);
  EXPECT_TRUE(config.stages[0].prompt);
  const std::string indented =
      "\n{\n  \"model\": {\n    \"encoder\": \"eé/x\",\n    \"llm\": \"m\"\n  },\n\t\"stages\": [ {\n"
      "    \"corpus\": { \"format\": \"jsonl\", \"path\": \"a\" }, \"lr\": 0.00001, \"prompt\": true } ],\n"
      "  \"optimizer\": { \"eps\": 0.0001, \"betas\": [0.5, 0.00004] }\n}\n";
  EXPECT_THAT(differences(config, load_text(indented)), IsEmpty());
  EXPECT_THAT(
      problems_of("{\"model\": {\"encoder\": \"e\", \"llm\": \"m\"},\n \"sed\": 1, \"seed\": \"1\", \"sed\": 2,\n"
                  " \"stages\": [{\"corpus\": {\"format\": \"jsonl\", \"path\": \"a\"}}]}"),
      ElementsAre("c.yaml:2:2: unknown key 'sed'; did you mean 'seed'?",
                  "c.yaml:2:20: 'seed': expected an integer of at least 0, got the text \"1\" (remove the quotes)",
                  "c.yaml:2:25: duplicate and unknown key 'sed'; did you mean 'seed'?"));
  EXPECT_NO_THROW(load_text("{model: {encoder: e, llm: m}, \"stages\": [{corpus: {format: jsonl, path: a}}]}"));
}

TEST(LoadConfig, ReadsSizesAndTimesInQuotesForJsonHasNoOthers) {
  const auto config = load_text(
      R"({"model": {"encoder": "e", "llm": "m"}, "stages": [{"corpus": {"format": "jsonl", "path": "a"}}],
          "cache": {"memory_limit": "4MiB", "shard_bytes": 1048576}, "watchdog": {"step": "1m30s"}, "stop_after": "23h30m"})");
  EXPECT_EQ(config.cache.memory_limit.bytes, 4 << 20);
  EXPECT_EQ(config.cache.shard_bytes.bytes, 1 << 20);
  EXPECT_EQ(config.watchdog.step.seconds, 90);
  EXPECT_EQ(config.stop_after.value().seconds, 84600);
  EXPECT_EQ(load_text(kMinimal + "cache: {memory_limit: \"4MiB\"}\n").cache.memory_limit.bytes, 4 << 20);
  EXPECT_THAT(problems_of(kMinimal + "cache: {memory_limit: \"4096\"}\n"),
              ElementsAre(HasSubstr("the text \"4096\" (remove the quotes)")));
  EXPECT_THAT(problems_of(kMinimal + "watchdog: {step: \"soon\"}\n"),
              ElementsAre(HasSubstr("a time such as 45s, 90m or 23h30m, got the text \"soon\"")));
}

TEST(LoadConfig, ReportsUnknownAndRepeatedKeysAtOnce) {
  EXPECT_THAT(
      problems_with("optimizer: {epps: 1.0e-6, eps: 1.0e-7}\n"
                    "optimzer:\n"
                    "  beta: [0.9, 0.99]\n"
                    "eps: 1\n"
                    "lr: 1\n"
                    "zzz: {a: 1}\n"
                    "seed: 1\n"
                    "seed: 2\n"
                    "sede: 3\n"),
      ElementsAre("c.yaml:4:13: unknown key 'optimizer.epps'; did you mean 'optimizer.eps'?",
                  "c.yaml:5:1: unknown key 'optimzer'; did you mean 'optimizer'?",
                  "c.yaml:7:1: unknown key 'eps'; did you mean 'optimizer.eps'?",
                  "c.yaml:8:1: unknown key 'lr'; did you mean 'stages[].lr'?",
                  "c.yaml:9:1: unknown key 'zzz'; the keys here are output, seed, model, parallel, data, cache, stages, "
                  "optimizer, schedule, checkpoint, eval, log, comm, watchdog, stop_after",
                  "c.yaml:11:1: duplicate key 'seed': it is already at c.yaml:10:1",
                  "c.yaml:12:1: unknown key 'sede'; did you mean 'seed'?"));
}

TEST(LoadConfig, ReadsAMisspelledKeyAsTheOneThatWasMeant) {
  EXPECT_THAT(problems_of("modle: {encoder: e, lm: m}\nstages: [{corpus: {fromat: jsonl, path: a}}]\n"),
              ElementsAre("c.yaml:1:1: unknown key 'modle'; did you mean 'model'?",
                          "c.yaml:1:21: unknown key 'model.lm'; did you mean 'model.llm'?",
                          "c.yaml:2:20: unknown key 'stages.0.corpus.fromat'; did you mean 'stages.0.corpus.format'?"));
}

TEST(LoadConfig, NamesAllMissingKeys) {
  EXPECT_THAT(
      problems_of(""),
      ElementsAre("c.yaml:1:1: missing required key 'model'", "c.yaml:1:1: missing required key 'model.encoder'",
                  "c.yaml:1:1: missing required key 'model.llm'", "c.yaml:1:1: missing required key 'stages'"));
  EXPECT_THAT(problems_of("model: {llm: m}\nstages:\n  - lr: 1\n  - corpus: {path: a}\n"),
              ElementsAre("c.yaml:1:8: missing required key 'model.encoder'",
                          "c.yaml:3:5: missing required key 'stages.0.corpus'",
                          "c.yaml:3:5: missing required key 'stages.0.corpus.format'",
                          "c.yaml:4:13: missing required key 'stages.1.corpus.format'"));
}

TEST(LoadConfig, RefusesValuesOfAnotherType) {
  const std::string integer = "'seed': expected an integer of at least 0, got ";
  for (const auto& [written, got] : std::vector<std::pair<std::string, std::string>>{
           {"010", "'010' (write numbers plainly"},
           {"0x10", "'0x10' (write numbers plainly"},
           {"1_000", "'1_000' (write numbers plainly"},
           {"+1", "'+1' (write numbers plainly"},
           {".nan", "'.nan'"},
           {".inf", "'.inf'"},
           {"1.0", "the number 1.0"},
           {"1e3", "the number 1e3"},
           {"-1", "the integer -1"},
           {"99999999999999999999", "the number 99999999999999999999, which does not fit 64 bits"},
           {"\"5\"", "the text \"5\" (remove the quotes)"},
           {"five", "'five'"},
           {"true", "true"},
           {"~", "null"},
           {"", "nothing"},
           {"[1]", "a list"},
           {"{a: 1}", "keys and values"}}) {
    const auto problems = problems_with("seed: " + written + "\n");
    ASSERT_EQ(problems.size(), 1u) << written;
    EXPECT_THAT(problems[0], HasSubstr(integer + got));
    EXPECT_THAT(problems[0], StartsWith(written.empty() ? "c.yaml:4:1: " : "c.yaml:4:7: "));
  }
  for (const char* written : {"yes", "on", "True", "1", "\"true\"", "no", "~", "", "[]"}) {
    EXPECT_THAT(problems_with(std::string("parallel: {sequence: ") + written + "}\n"),
                ElementsAre(HasSubstr("'parallel.sequence': expected true or false, got ")))
        << written;
  }
  for (const char* written : {"5", "0.5", "true", "~", "", ".nan", "0x1", "[a]", "{}"}) {
    EXPECT_THAT(problems_with(std::string("output: ") + written + "\n"),
                ElementsAre(HasSubstr("'output': expected text, got ")))
        << written;
  }
  for (const char* written : {".nan", ".inf", "\"0.1\"", "1e999", ".5", "1.", "ten", "~", ""}) {
    EXPECT_THAT(problems_with(std::string("schedule: {warmup: ") + written + "}\n"),
                ElementsAre(HasSubstr("'schedule.warmup': expected a number of at least 0 and below 1, got ")))
        << written;
  }
}

TEST(LoadConfig, SaysHowToWriteWhatItRefuses) {
  EXPECT_THAT(problems_with("output: 5\n"),
              ElementsAre("c.yaml:4:9: 'output': expected text, got the integer 5 (put it in quotes if it is text)"));
  EXPECT_THAT(problems_with("parallel: {threads: }\n"),
              ElementsAre(HasSubstr("expected an integer of at least 1, got nothing; write null where none is meant")));
  EXPECT_THAT(problems_with("output: \"\"\n"), ElementsAre("c.yaml:4:9: 'output': expected text, got an empty one"));
  EXPECT_THAT(problems_with("output: \"a\\nb\"\n"), ElementsAre(HasSubstr("holds a control character")));
}

TEST(LoadConfig, RefusesSectionsAndListsOfAnotherShape) {
  EXPECT_THAT(problems_of("[1, 2]\n"), ElementsAre("c.yaml:1:1: the config: expected keys and values, got a list"));
  EXPECT_THAT(problems_of("just text\n"),
              ElementsAre(HasSubstr("the config: expected keys and values, got 'just text'")));
  EXPECT_THAT(problems_with("data: datas\n"), ElementsAre("c.yaml:4:7: 'data': expected keys and values, got 'datas'"));
  EXPECT_THAT(problems_with("data:\n"), ElementsAre("c.yaml:4:1: 'data': expected keys and values, got nothing"));
  EXPECT_THAT(problems_with("data: ~\n"), ElementsAre("c.yaml:4:7: 'data': expected keys and values, got null"));
  EXPECT_THAT(problems_with("data: {}\n"), IsEmpty());
  const std::string model = "model: {encoder: e, llm: m}\n";
  for (const char* stages : {"[]", "{corpus: {format: jsonl, path: a}}", "~", "", "x"}) {
    EXPECT_THAT(problems_of(model + "stages: " + stages + "\n"),
                ElementsAre(HasSubstr("'stages': expected a list of at least one stage, got ")))
        << stages;
  }
  EXPECT_THAT(problems_of(model + "stages: [x]\n"),
              ElementsAre("c.yaml:2:10: 'stages.0': expected keys and values, got 'x'"));
  for (const char* betas : {"[0.9]", "[0.9, 0.9, 0.9]", "0.9", "[0.9, 1.0]", "[-0.1, 0.9]", "[a, 0.9]", "[]"}) {
    EXPECT_THAT(problems_with(std::string("optimizer: {betas: ") + betas + "}\n"),
                ElementsAre(HasSubstr("'optimizer.betas': ")))
        << betas;
  }
}

TEST(LoadConfig, RefusesFilesThatAreNoConfig) {
  const TemporaryFolder folder;
  const auto message = [](const std::filesystem::path& file) -> std::string {
    try {
      load_config(file);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  };
  const std::string missing = (folder.path() / "no.yaml").string();
  EXPECT_EQ(message(missing), "cannot read " + missing + ": No such file or directory");
  EXPECT_THAT(message(folder.path()), HasSubstr("Is a directory"));
  EXPECT_THAT(message(folder.write("bom.yaml", "\xEF\xBB\xBF" + kMinimal)),
              HasSubstr("bom.yaml:1:1: the text begins with a byte"));
  EXPECT_THAT(message(folder.write("latin.yaml", kMinimal + "output: caf\xE9\n")),
              HasSubstr("latin.yaml:4:12: invalid UTF-8"));
  EXPECT_THAT(message(folder.write("two.yaml", kMinimal + "---\nseed: 1\n")),
              HasSubstr("two.yaml:5:1: a second document"));
  EXPECT_THAT(message(folder.write("open.yaml", kMinimal + "data: {root: a\n")),
              HasSubstr("open.yaml:5:1: YAML syntax: "));
}

}  // namespace
}  // namespace layalign::configs::testing
