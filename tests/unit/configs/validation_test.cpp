#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/unit/configs/config_files.h"

namespace layalign::configs::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::vector<std::string> problems_of_line(const std::string& line) { return problems_of(kMinimal + line); }

TEST(Validation, ChecksBounds) {
  for (const char* line : {"seed: -1", "parallel: {tensor: 0}", "parallel: {tensor: many}", "parallel: {threads: 0}",
                           "parallel: {check_replicas_every: 0}", "checkpoint: {every: 0}", "checkpoint: {keep: 0}",
                           "log: {every: 0}", "optimizer: {eps: 0}", "optimizer: {eps: -1.0e-8}",
                           "optimizer: {betas: [1, 0.9]}", "optimizer: {weight_decay: -0.1}",
                           "optimizer: {clip_norm: 0}", "schedule: {warmup: 1}", "schedule: {warmup: -0.1}"}) {
    EXPECT_THAT(problems_of_line(std::string(line) + "\n"), ElementsAre(HasSubstr("c.yaml:4:"))) << line;
  }
  for (const char* line : {"optimizer: {weight_decay: 0, eps: 1.0e-4}", "schedule: {warmup: 0}",
                           "schedule: {warmup: 0.999}", "optimizer: {betas: [0, 0]}"}) {
    EXPECT_THAT(problems_of_line(std::string(line) + "\n"), IsEmpty()) << line;
  }
  for (const char* key : {"epochs: 0", "max_steps: 0", "global_batch: 0", "micro_batch: 0", "lr: 0", "lr: -1",
                          "max_source_tokens: 0", "max_target_tokens: 0", "dev_size: -1", "eval_every: 0"}) {
    EXPECT_THAT(problems_of_line(std::string("    ") + key + "\n"), ElementsAre(HasSubstr("c.yaml:4:"))) << key;
  }
  EXPECT_THAT(problems_of_line("    micro_batch: 256\n    dev_size: 0\n    max_steps: 1\n"), IsEmpty());
  EXPECT_THAT(problems_of(with_corpus("{format: jsonl, path: a, train_num: 0}")),
              ElementsAre(HasSubstr(".train_num'")));
}

TEST(Validation, ChecksWords) {
  EXPECT_THAT(
      problems_of_line("parallel: {device: gpu, precision: bf16, recompute: ful}\n"),
      ElementsAre("c.yaml:4:20: 'parallel.device': expected one of auto, cpu, cuda, got 'gpu'; did you mean 'cpu'?",
                  "c.yaml:4:36: 'parallel.precision': expected one of float32, bfloat16, got 'bf16'",
                  "c.yaml:4:53: 'parallel.recompute': expected one of none, full, got 'ful'; did you mean 'full'?"));
  EXPECT_THAT(
      problems_of_line("schedule: {name: Cosine}\ncomm: {backend: gloo}\noptimizer: {loss_normalization: token}\n"),
      SizeIs(3));
  EXPECT_THAT(problems_of(with_corpus("{format: x-csqa}", "data: {root: d}\n")),
              ElementsAre(HasSubstr("got 'x-csqa'; did you mean 'x_csqa'?")));
}

TEST(Validation, ChecksLayerLists) {
  const auto with_layers = [](const std::string& layers) {
    return problems_of("model: {encoder: e, llm: m, encoder_layers: " + layers +
                       "}\nstages: [{corpus: {format: jsonl, path: a}}]\n");
  };
  for (const char* layers : {"default", "all", "[0]", "[5, 2, 7]"})
    EXPECT_THAT(with_layers(layers), IsEmpty()) << layers;
  for (const char* layers : {"[]", "[1, 1]", "[-1]", "[1.0]", "[a]", "[[1]]", "al", "3", "~", "", "{}", "[01]"}) {
    EXPECT_THAT(with_layers(layers), ElementsAre(HasSubstr("'model.encoder_layers': "))) << layers;
  }
  EXPECT_THAT(with_layers("defualt")[0], HasSubstr("did you mean 'default'?"));
}

TEST(Validation, RefusesWhatDoesNotWorkTogether) {
  EXPECT_THAT(problems_of_line("parallel: {sequence: true}\n"),
              ElementsAre("c.yaml:4:22: 'parallel.sequence': true is not available yet: set it to false"));
  EXPECT_THAT(problems_of_line("parallel: {device: cpu}\ncomm: {backend: nccl}\n"),
              ElementsAre(HasSubstr("c.yaml:5:17: 'comm.backend': nccl needs CUDA devices")));
}

TEST(Validation, ChecksTheCache) {
  EXPECT_THAT(
      problems_of_line("cache: {mode: read_write, path: c, dtype: float8, memory_limit: 256MiB, shard_bytes: 1000}\n"),
      IsEmpty());
  EXPECT_THAT(problems_of_line("cache: {dtype: bfloat16}\n"), IsEmpty());
  EXPECT_THAT(problems_of_line("cache: {mode: read}\n"), ElementsAre(HasSubstr("missing required key 'cache.path'")));
  EXPECT_THAT(
      problems_of_line("cache: {path: c, memory_limit: 2GB}\n"),
      ElementsAre("c.yaml:4:32: 'cache.memory_limit': expected a size such as 512MiB or 2GiB, or a number of bytes, "
                  "got '2GB'"));
  EXPECT_THAT(problems_of_line("cache: {path: c, shard_bytes: 0, mode: on, dtype: fp8}\n"), SizeIs(3));
}

TEST(Validation, WantsThePathOfOwnFilesOnly) {
  for (const char* format : {"jsonl", "token_ids"}) {
    EXPECT_THAT(problems_of(with_corpus("{format: " + std::string(format) + "}")),
                ElementsAre("c.yaml:3:13: missing required key 'stages.0.corpus.path': the file of a " +
                            std::string(format) + " corpus"));
    EXPECT_THAT(problems_of(with_corpus("{format: " + std::string(format) + ", path: a}")), IsEmpty());
  }
  for (const char* format : {"bilingual_pairs", "metamath", "x_csqa", "xnli"}) {
    EXPECT_THAT(problems_of(with_corpus("{format: " + std::string(format) + "}")),
                ElementsAre(HasSubstr("missing required key 'data.root'")));
    EXPECT_THAT(problems_of(with_corpus("{format: " + std::string(format) + "}", "data: {root: d}\n")), IsEmpty());
    EXPECT_THAT(
        problems_of(with_corpus("{format: " + std::string(format) + ", path: a}", "data: {root: d}\n")),
        ElementsAre(HasSubstr("'stages.0.corpus.path': a " + std::string(format) + " corpus lies at its place")));
  }
  EXPECT_THAT(problems_of(with_corpus("{format: msvamp, path: a}")), IsEmpty());
  EXPECT_THAT(problems_of(with_corpus("{format: msvamp}", "data: {root: d}\n")), IsEmpty());
  EXPECT_THAT(problems_of(with_corpus("{format: msvamp}")), ElementsAre(HasSubstr("(or set corpus.path)")));
  // One mistake, one line: a path of a wrong type is not a missing path too.
  EXPECT_THAT(problems_of(with_corpus("{format: jsonl, path: 5}")), ElementsAre(HasSubstr("expected text")));
}

TEST(Validation, KnowsTheLanguages) {
  const auto with = [](const std::string& corpus) { return problems_of(with_corpus(corpus, "data: {root: d}\n")); };
  EXPECT_THAT(with("{format: xnli, languages: [Urdu, English]}"), IsEmpty());
  EXPECT_THAT(
      with("{format: xnli, languages: [Urdu, Turkisch, bn]}"),
      ElementsAre(HasSubstr("'stages.0.corpus.languages': unknown language 'Turkisch'; did you mean 'Turkish'?"),
                  HasSubstr("unknown language 'bn'; the languages are English, Swahili")));
  EXPECT_THAT(with("{format: xnli, languages: [Urdu, Urdu]}"), ElementsAre(HasSubstr("'Urdu' is listed twice")));
  EXPECT_THAT(with("{format: xnli, languages: Urdu}"), ElementsAre(HasSubstr("expected a list of texts, got 'Urdu'")));
  EXPECT_THAT(with("{format: jsonl, path: a, languages: [Klingon, tlh], train_num: 5}"), IsEmpty());
  EXPECT_THAT(with("{format: token_ids, path: a, languages: [Urdu], train_num: 5}"),
              ElementsAre(HasSubstr("has no languages"), HasSubstr("shorten the file")));
}

TEST(Validation, OnlyMsvampHasTasks) {
  EXPECT_THAT(problems_of(with_corpus("{format: msvamp, path: a, task: translation}")), IsEmpty());
  EXPECT_THAT(problems_of(with_corpus("{format: jsonl, path: a, task: translation}")),
              ElementsAre(HasSubstr("'stages.0.corpus.task': only an msvamp corpus has tasks")));
}

TEST(Validation, StageNamesAreFileNamesAndDiffer) {
  const auto with_names = [](const std::string& first, const std::string& second) {
    return problems_of("model: {encoder: e, llm: m}\nstages:\n  - {name: " + first +
                       ", corpus: {format: jsonl, path: a}}\n  - {" + second + "corpus: {format: jsonl, path: a}}\n");
  };
  EXPECT_THAT(with_names("Stage_1.a-b", ""), IsEmpty());
  for (const char* name : {"a/b", "a b", "..", ".", "é", "\"a:b\""}) {
    EXPECT_THAT(with_names(name, ""), ElementsAre(HasSubstr("c.yaml:3:12: 'stages.0.name': "))) << name;
  }
  EXPECT_THAT(with_names("\"\"", ""), ElementsAre(HasSubstr("expected text, got an empty one")));
  EXPECT_THAT(with_names("a", "name: a, "),
              ElementsAre(HasSubstr("'a' is also 'stages.0.name': stage names must differ")));
  EXPECT_THAT(with_names("stage-2", ""), ElementsAre(HasSubstr("'stages.1.name': 'stage-2' is also 'stages.0.name'")));
}

}  // namespace
}  // namespace layalign::configs::testing
