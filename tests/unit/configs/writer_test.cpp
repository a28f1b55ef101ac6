#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <type_traits>

#include "configs/fields.h"
#include "tests/unit/configs/config_files.h"

namespace layalign::configs::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Changes every key to another value that is allowed.
struct Changer {
  void operator()(const Field& field, std::string& value) const {
    value = field.rule.choices.empty() ? "new " + value : std::string(field.rule.choices.back());
  }
  void operator()(const Field&, bool& value) const { value = !value; }
  void operator()(const Field&, int64_t& value) const { value += 1; }
  void operator()(const Field&, double& value) const { value = value / 3; }
  void operator()(const Field&, std::array<double, 2>& value) const { value = {0.1 + 0.2, 1.0 / 3}; }
  void operator()(const Field&, LayerList& value) const { value = {LayerList::Kind::kList, {4, 1}}; }
  void operator()(const Field&, TensorSize& value) const { value = 0; }
  void operator()(const Field&, ByteSize& value) const { value.bytes += 1; }
  void operator()(const Field&, Duration& value) const { value.seconds += 1; }
  void operator()(const Field&, std::vector<std::string>& value) const { value = {"a: b", "é\"\\😀", "5"}; }
  void operator()(const Field&, std::optional<std::string>& value) const { value = "null"; }
  void operator()(const Field&, std::optional<int64_t>& value) const { value = 12; }
  void operator()(const Field&, std::optional<double>& value) const { value = 1.0 / 3; }
  void operator()(const Field&, std::optional<Duration>& value) const { value = Duration{3661}; }
  void operator()(const Field&, std::vector<StageConfig>& value) const {
    for (StageConfig& stage : value) visit_fields(stage, *this);
  }
  template <Section S>
  void operator()(const Field&, S& section) const {
    visit_fields(section, *this);
  }
};

RunConfig changed_config() {
  RunConfig config = load_text(kMinimal);
  visit_fields(config, Changer{});
  return config;
}

TEST(ToYaml, ReadsBackToTheSameConfig) {
  const RunConfig minimal = load_text(kMinimal);
  EXPECT_THAT(differences(load_text(to_yaml(minimal)), minimal), IsEmpty());

  RunConfig changed = changed_config();
  // What validation does not let through together with the other values.
  changed.parallel.sequence = false;
  changed.model.mapping = "linear";
  changed.model.aligner = "uniform_mean";
  changed.eval.tasks = {"xnli", "mgsm"};
  changed.eval.languages = {"Thai"};
  changed.stages[0].name = "new";
  changed.stages[0].corpus.format = "jsonl";
  changed.stages[0].corpus.task = "answer";
  changed.stages.push_back(changed.stages[0]);
  changed.stages[1].name = "second";
  const RunConfig read = load_text(to_yaml(changed));
  EXPECT_THAT(differences(read, changed), IsEmpty());
  EXPECT_EQ(read.optimizer.betas, changed.optimizer.betas);
  EXPECT_EQ(read.stages.at(1).corpus.languages, changed.stages[1].corpus.languages);
  EXPECT_EQ(to_yaml(read), to_yaml(changed));
}

TEST(ToYaml, IsBlockYaml) {
  const std::string text = to_yaml(load_text(kMinimal));
  EXPECT_THAT(text, HasSubstr("output: runs/layalign\nseed: 0\nmodel:\n  encoder: e\n"));
  EXPECT_THAT(text, HasSubstr("stages:\n  - name: stage-1\n    corpus:\n      format: jsonl\n"));
  EXPECT_THAT(text, HasSubstr("    lr: 4e-05\n"));
  EXPECT_THAT(text, HasSubstr("  betas: [0.8, 0.999]\n"));
}

TEST(Differences, NameKeyAndBothValues) {
  const RunConfig a = load_text(kMinimal);
  EXPECT_THAT(differences(a, load_text(kMinimal)), IsEmpty());
  EXPECT_THAT(differences(a, load_text(kMinimal, {"optimizer.eps=0.0001", "stages.0.max_steps=3", "data.root=d"})),
              ElementsAre("data.root: null != d", "stages.0.max_steps: null != 3", "optimizer.eps: 1e-08 != 0.0001"));
  RunConfig more = a;
  more.stages.push_back(more.stages[0]);
  more.folder = "elsewhere";
  EXPECT_THAT(differences(a, more), ElementsAre("stages: 1 != 2"));
}

TEST(Differences, SeeEveryKey) {
  const RunConfig a = load_text(kMinimal);
  size_t keys = 0;
  const auto count = [&keys](const auto& self, const auto& section) -> void {
    visit_fields(section, [&](const Field&, const auto& value) {
      using T = std::remove_cvref_t<decltype(value)>;
      if constexpr (std::is_same_v<T, std::vector<StageConfig>>) {
        self(self, value.front());
      } else if constexpr (Section<T>) {
        self(self, value);
      } else {
        ++keys;
      }
    });
  };
  count(count, a);
  EXPECT_EQ(differences(a, changed_config()).size(), keys);
}

TEST(HelpText, NamesEveryKeyOnceAndFitsATerminal) {
  const std::string help = help_text();
  for (const char* line :
       {"\nmodel  (required)\n", "\n  model.encoder  (required)\n", "\n  model.encoder_layers  (default: default)\n",
        "\n  stages[].name  (default: stage-1, stage-2, ...)\n", "\n  stages[].lr  (default: 4e-05)\n",
        "\n  stages[].corpus.format  (required)\n", "\n  optimizer.betas  (default: [0.8, 0.999])\n",
        "\n      an integer of at least 1, or null. ", "\n      one of cosine, linear, constant. "}) {
    EXPECT_THAT(help, HasSubstr(line));
  }
  size_t begin = 0;
  for (size_t end = 0; (end = help.find('\n', begin)) != std::string::npos; begin = end + 1) {
    EXPECT_LE(end - begin, 100u) << help.substr(begin, end - begin);
  }
  EXPECT_EQ(begin, help.size());
}

}  // namespace
}  // namespace layalign::configs::testing
