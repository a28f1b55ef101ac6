#include "trainer/data_check.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <limits>
#include <map>
#include <optional>
#include <vector>

#include "configs/paths.h"
#include "data/dataset_check.h"
#include "model/error.h"
#include "trainer/experiment.h"
#include "trainer/format.h"
#include "trainer/plan_report.h"

namespace layalign::trainer {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kProblemsShown = 20;  // of a file

/// Samples of a language in the public files: docs/data.md says where each number is from.
struct PublishedCount {
  const char* name;
  int64_t samples;
};
constexpr std::array kCorpora = {PublishedCount{"bilingual_pairs", 100000}, PublishedCount{"msvamp", 1000},
                                 PublishedCount{"xnli", 2490}};
constexpr std::array kBenchmarks = {PublishedCount{"mgsm", 250}, PublishedCount{"msvamp", 1000},
                                    PublishedCount{"x_csqa", 1000}, PublishedCount{"xnli", 5010}};

template <size_t N>
std::optional<int64_t> published(const std::array<PublishedCount, N>& counts, std::string_view name) {
  const auto found = std::find_if(counts.begin(), counts.end(), [&](const auto& count) { return count.name == name; });
  return found == counts.end() ? std::nullopt : std::optional(found->samples);
}

/// Problems of one data set, a list a file in the order of their first ones.
class Problems {
 public:
  data::ProblemHandler handler() {
    return [this](const fs::path& path, const data::DataError& error) { add(path.string(), error.what()); };
  }

  void add(const std::string& file, const std::string& text) {
    auto found = std::find_if(files_.begin(), files_.end(), [&](const auto& entry) { return entry.name == file; });
    if (found == files_.end()) found = files_.insert(files_.end(), {file, 0, {}});
    if (++found->count <= kProblemsShown) found->shown.push_back(text);
  }

  int64_t count() const {
    int64_t sum = 0;
    for (const auto& file : files_) sum += file.count;
    return sum;
  }

  std::string text() const {
    std::string text;
    for (const auto& file : files_) {
      for (const auto& problem : file.shown) text += "  broken      " + problem + "\n";
      const int64_t rest = file.count - static_cast<int64_t>(file.shown.size());
      if (rest > 0) text += "  broken      " + file.name + ": and " + with_commas(rest) + " more\n";
    }
    return text;
  }

 private:
  struct File {
    std::string name;
    int64_t count;
    std::vector<std::string> shown;
  };
  std::vector<File> files_;
};

/// A sentence file that ends inside a line may have been cut there; JSON shows that by itself.
bool lacks_last_line_end(const fs::path& path) {
  if (path.extension() == ".json" || path.extension() == ".jsonl") return false;
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file || file.tellg() <= 0) return false;
  file.seekg(-1, std::ios::end);
  return file.get() != '\n';
}

std::string language_table(const data::DatasetFacts& facts, const std::optional<int64_t>& expected) {
  std::string text = format("  %-20s %12s%s\n", "language", "samples", expected ? "    published" : "");
  for (size_t i = 0; i < facts.languages.size(); ++i) {
    text += format("  %-20s %12s", facts.languages[i].c_str(), with_commas(facts.samples[i]).c_str());
    if (expected) text += format(" %12s", with_commas(*expected).c_str());
    text += "\n";
  }
  return text;
}

std::string length_row(const char* name, const data::Lengths& lengths) {
  if (lengths.tokens.empty()) return "";
  const int64_t cut = lengths.cut();
  return format("  %-20s %8d %8d %8d %8d %8lld %12s", name, lengths.quantile(0.5), lengths.quantile(0.9),
                lengths.quantile(0.99), lengths.quantile(1.0), static_cast<long long>(lengths.limit),
                with_commas(cut).c_str()) +
         format(" (%.2f %%)\n", 100.0 * static_cast<double>(cut) / static_cast<double>(lengths.tokens.size()));
}

std::string length_table(const data::DatasetFacts& facts) {
  const std::string rows = length_row("encoder", facts.source) + length_row("LLM, prompt", facts.prompt) +
                           length_row("LLM, target", facts.target);
  if (rows.empty()) return "";
  return format("  %-20s %8s %8s %8s %8s %8s %12s\n", "tokens", "50 %", "90 %", "99 %", "longest", "limit", "cut") +
         rows;
}

/// What a data set is called and how many samples of each language it should have.
struct Expectation {
  std::string title;
  std::optional<int64_t> published;
  std::optional<int64_t> asked;  // corpus.train_num
};

class Checker {
 public:
  explicit Checker(const configs::RunConfig& config) : config_(config) { open_models(); }

  DataCheck check() {
    for (const auto& task : config_.eval.tasks) check_benchmark(task);
    for (size_t i = 0; i < config_.stages.size(); ++i) check_stage(i);
    const size_t data_sets = config_.eval.tasks.size() + config_.stages.size();
    result_.report += std::to_string(data_sets) + (data_sets == 1 ? " data set: " : " data sets: ") +
                      with_commas(result_.problems) + " broken, " + with_commas(result_.warnings) +
                      (result_.warnings == 1 ? " warning\n" : " warnings\n");
    return std::move(result_);
  }

 private:
  void open_models() {
    Problems problems;
    try {
      vocabulary_ = prepare_models(config_, reads_text(config_)).vocabulary;
    } catch (const data::DataError& error) {
      problems.add("", error.what());
    } catch (const model::ModelError& error) {
      problems.add("", error.what());
    }
    if (problems.count() == 0) return;
    vocabulary_.encoder_size = vocabulary_.llm_size = std::numeric_limits<int64_t>::max();
    result_.report += "models: not read, so no tokens are counted\n" + problems.text() + "\n";
    result_.problems += problems.count();
  }

  void check_benchmark(const std::string& name) {
    Problems problems;
    const auto task = *data::evaluation_task_named(name);
    const fs::path root = configs::resolve_path(*config_.data.root, config_.folder);
    std::vector<data::EvaluationItem> items;
    data::go_on_after(root, problems.handler(), [&] {
      items = data::read_evaluation(task, root, config_.eval.languages, std::nullopt, problems.handler());
    });
    questions_.add(items);
    const auto facts = data::check_questions(items, config_.stages.back(), vocabulary_, problems.handler());
    report({"benchmark " + name, published(kBenchmarks, name), std::nullopt}, facts, "", problems);
  }

  void check_stage(size_t index) {
    Problems problems;
    const auto& stage = config_.stages[index];
    const auto facts =
        data::check_corpus(stage, config_.data, config_.folder, vocabulary_, questions_, problems.handler());
    std::string split;
    if (facts.size() > 0) {
      const auto group = [&](int64_t sample) { return facts.groups[sample]; };
      data::go_on_after(facts.files.front(), problems.handler(), [&] {
        split = split_text(data::split_by_group(facts.size(), group, resolve_dev_size(stage, facts.size()),
                                                static_cast<uint64_t>(config_.seed)));
      });
    }
    auto expected = published(kCorpora, stage.corpus.format);
    if (expected && stage.corpus.train_num) expected = std::min(*expected, *stage.corpus.train_num);
    report({format("stage %zu/%zu ", index + 1, config_.stages.size()) + stage.name + ": " + stage.corpus.format,
            expected, stage.corpus.train_num},
           facts, split, problems);
  }

  void report(const Expectation& expectation, const data::DatasetFacts& facts, const std::string& split,
              const Problems& problems) {
    auto& text = result_.report;
    text += expectation.title + "\n";
    for (const auto& file : facts.files) text += "  file        " + file + "\n";
    if (facts.size() > 0) text += language_table(facts, expectation.published);
    text +=
        format("  %-20s %12s", "all", with_commas(facts.size()).c_str()) + (split.empty() ? "" : ": " + split) + "\n";
    text += length_table(facts);
    warn_of_counts(expectation, facts);
    for (const auto& file : facts.files) {
      if (lacks_last_line_end(file)) warn(file + ": no line end at its end; is it complete?");
    }
    warn_of(facts.empty_sources, "empty source");
    warn_of(facts.empty_targets, "empty target");
    warn_of(facts.repeated, "repeated sample");
    warn_of(facts.damaged, "text with U+FFFD, which stands for bytes that could not be read,");
    warn_of(facts.unknown, "unknown language");
    warn_of(facts.test_questions, "sample with a question of a benchmark");
    warn_of_cuts(facts.source, "sources", "max_source_tokens");
    warn_of_cuts(facts.prompt, "prompts", "max_target_tokens");
    warn_of_cuts(facts.target, "targets", "max_target_tokens");
    text += problems.text() + "\n";
    result_.problems += problems.count();
  }

  void warn(const std::string& text) {
    result_.report += "  warning     " + text + "\n";
    ++result_.warnings;
  }

  void warn_of(const data::Finding& finding, const std::string& what) {
    if (finding.count == 0) return;
    std::string places;
    for (const auto& place : finding.places) places += (places.empty() ? "" : ", ") + place;
    if (finding.count > static_cast<int64_t>(finding.places.size())) places += ", ...";
    warn(with_commas(finding.count) + " x " + what + ": " + places);
  }

  void warn_of_counts(const Expectation& expectation, const data::DatasetFacts& facts) {
    const auto& wanted = expectation.published ? expectation.published : expectation.asked;
    std::map<int64_t, std::string> others;  // count: its languages
    for (size_t i = 0; wanted && i < facts.languages.size(); ++i) {
      if (facts.samples[i] == *wanted) continue;
      auto& names = others[facts.samples[i]];
      names += (names.empty() ? "" : ", ") + facts.languages[i];
    }
    for (const auto& [samples, names] : others) {
      warn(with_commas(samples) + " samples a language, not the " + with_commas(*wanted) +
           (expectation.published ? " of the public files: " : " of corpus.train_num: ") + names);
    }
  }

  void warn_of_cuts(const data::Lengths& lengths, const std::string& what, const std::string& key) {
    if (lengths.cut() * 100 > static_cast<int64_t>(lengths.tokens.size()))
      warn("more than 1 % of the " + what + " are cut: raise " + key);
  }

  const configs::RunConfig& config_;
  data::Vocabulary vocabulary_;
  data::QuestionIndex questions_;
  DataCheck result_;
};

}  // namespace

DataCheck check_data(const configs::RunConfig& config) { return Checker(config).check(); }

}  // namespace layalign::trainer
