#include "trainer/evaluation_files.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <string>
#include <string_view>

#include "checkpoints_tools/file_operations.h"
#include "configs/languages.h"
#include "trainer/durable_file.h"

namespace layalign::trainer {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kTaskVersion = 1.0;  // raise it when a prompt or a scorer changes

/// As Python prints round(100 * accuracy, 2): "52.0", "33.33".
std::string rounded_percent(double accuracy) {
  std::array<char, 32> buffer;
  std::snprintf(buffer.data(), buffer.size(), "%.2f", 100 * accuracy);
  std::string text = buffer.data();
  if (text.ends_with('0')) text.pop_back();
  return text;
}

Json public_record(data::EvaluationTask task, const ScoredItem& scored) {
  const data::EvaluationItem& item = scored.item;
  Json record;
  if (data::is_math(task)) {
    record["question"] = item.source;
    record["answer"] = last_number(item.answer);
    record["prompt"] = item.prompt;
    record["prediction"] = scored.score.prediction;
  } else {
    record["prompt"] = item.prompt;
    record["prediction"] = scored.score.prediction;
    record["answer"] = item.answer;
  }
  record["output"] = scored.output.text;
  record["correct"] = scored.score.correct;
  return record;
}

/// A name that no path can hide in, as the harness makes one for the folder of a model. XNLI's file may name any
/// language.
std::string sanitized(const std::string& name) {
  constexpr std::string_view kBad = "\"<>:/|\\?*[]";
  std::string out;
  for (size_t i = 0; i < name.size(); ++i) {
    if (kBad.find(name[i]) == kBad.npos)
      out += name[i];
    else if (i == 0 || kBad.find(name[i - 1]) == kBad.npos)
      out += "__";
  }
  return out;
}

/// "mgsm_bn"
std::string harness_name(std::string_view task, const std::string& language) {
  const auto code = configs::language_code(language);
  return std::string(task) + "_" + (code ? std::string(*code) : sanitized(language));
}

/// The harness writes "N/A" where one sample gives no error.
Json number_or_na(double value) { return std::isfinite(value) ? Json(value) : Json("N/A"); }

/// The parts of results_DATE.json that have a key a task.
struct HarnessTables {
  Json results = Json::object(), groups = Json::object(), group_subtasks = Json::object(), configs = Json::object(),
       versions = Json::object(), shots = Json::object(), higher_is_better = Json::object(), samples = Json::object();

  void add_task(const std::string& name, const char* metric, bool higher, const std::string& output_type,
                const Json& gen_kwargs) {
    configs[name] = {{"task", name}, {"output_type", output_type}, {"num_fewshot", 0}};
    if (output_type == "generate_until") configs[name]["generation_kwargs"] = gen_kwargs;
    const Json metrics{{"metric", metric}, {"aggregation", "mean"}, {"higher_is_better", higher}};
    configs[name]["metric_list"] = Json::array({metrics});
    configs[name]["metadata"] = {{"version", kTaskVersion}};
    versions[name] = kTaskVersion;
    shots[name] = 0;
    higher_is_better[name] = {{metric, higher}};
  }

  void add(const TaskReport& report, const Json& gen_kwargs) {
    const std::string_view task = data::name_of(report.task);
    Json members = Json::array();
    for (const LanguageScore& language : report.languages) {
      const std::string name = harness_name(task, language.language);
      results[name] = {{"alias", name},
                       {"acc,none", language.accuracy()},
                       {"acc_stderr,none", number_or_na(language.standard_error())},
                       {"sample_len", language.samples}};
      add_task(name, "acc", true, "generate_until", gen_kwargs);
      samples[name] = {{"original", language.samples}, {"effective", language.samples}};
      if (is_averaged(report.task, language.language)) members.push_back(name);
    }
    for (const AverageScore& average : report.averages) {
      std::string name(task);
      if (average.name != "average") name += "_" + average.name.substr(0, average.name.find('-')) + "_resource";
      groups[name] = {{"alias", name},
                      {"acc,none", average.accuracy},
                      {"acc_stderr,none", number_or_na(average.standard_error)},
                      {"sample_len", average.samples}};
      results[name] = groups[name];
      versions[name] = kTaskVersion;
      higher_is_better[name] = {{"acc", true}};
    }
    group_subtasks[std::string(task)] = members;
  }

  void add(const PerplexityReport& report) {
    const auto add_row = [&](const std::string& name, double perplexity, int64_t label_tokens) {
      results[name] = {{"alias", name},
                       {"perplexity,none", number_or_na(perplexity)},
                       {"perplexity_stderr,none", "N/A"},
                       {"label_tokens", label_tokens}};
    };
    Json members = Json::array();
    for (const auto& row : report.languages) {
      const std::string name = harness_name("perplexity", row.language);
      add_row(name, row.perplexity, row.label_tokens);
      add_task(name, "perplexity", false, "loglikelihood_rolling", {});
      members.push_back(name);
    }
    add_row("perplexity", report.perplexity, report.label_tokens);
    groups["perplexity"] = results["perplexity"];
    group_subtasks["perplexity"] = members;
  }
};

Json results_of(const HarnessTables& tables, const HarnessRun& run, const Json& config) {
  return {{"results", tables.results},
          {"groups", tables.groups},
          {"group_subtasks", tables.group_subtasks},
          {"configs", tables.configs},
          {"versions", tables.versions},
          {"n-shot", tables.shots},
          {"higher_is_better", tables.higher_is_better},
          {"n-samples", tables.samples},
          {"config", config},
          {"git_hash", run.git_hash},
          {"date", run.start_s},
          {"model_source", "layalign"},
          {"model_name", run.model_name},
          {"model_name_sanitized", sanitized(run.model_name)},
          {"start_time", run.start_s},
          {"end_time", run.start_s + run.evaluation_s},
          {"total_evaluation_time_seconds", python_float(run.evaluation_s)}};
}

Json harness_sample(const ScoredItem& scored, const Json& gen_kwargs) {
  const data::EvaluationItem& item = scored.item;
  const Json document{
      {"language", item.language}, {"question", item.source}, {"answer", item.answer}, {"origin", item.origin}};
  const Json arguments{{"arg_0", item.prompt}, {"arg_1", gen_kwargs}};
  return {{"doc_id", item.index},
          {"doc", document},
          {"target", item.answer},
          {"arguments", {{"gen_args_0", arguments}}},
          {"resps", Json::array({Json::array({scored.output.text})})},
          {"filtered_resps", Json::array({scored.score.prediction})},
          {"filter", "none"},
          {"metrics", Json::array({"acc"})},
          {"acc", scored.score.correct ? 1.0 : 0.0}};
}

}  // namespace

void write_public_files(const std::filesystem::path& folder, const TaskReport& report) {
  checkpoints_tools::make_folder(folder);
  std::string scores;
  for (const LanguageScore& language : report.languages) {
    Json records = Json::array();
    for (const ScoredItem& scored : report.items) {
      if (scored.item.language == language.language) records.push_back(public_record(report.task, scored));
    }
    write_file_durably(folder / (sanitized(language.language) + ".json"), records.dump(2) + '\n');
    scores += language.language + '\t' + rounded_percent(language.accuracy()) + '\n';
  }
  scores += "Average\t" + rounded_percent(report.averages.back().accuracy) + '\n';
  write_file_durably(folder / "scores.tsv", scores);
}

void write_harness_files(const std::filesystem::path& folder, const std::vector<TaskReport>& reports,
                         const std::vector<PerplexityReport>& perplexity, const HarnessRun& run, const Json& config) {
  checkpoints_tools::make_folder(folder);
  const Json gen_kwargs = config.value("gen_kwargs", Json::object());
  HarnessTables tables;
  for (const TaskReport& report : reports) {
    tables.add(report, gen_kwargs);
    for (const LanguageScore& language : report.languages) {
      std::string lines;
      for (const ScoredItem& scored : report.items) {
        if (scored.item.language == language.language) lines += harness_sample(scored, gen_kwargs).dump() + '\n';
      }
      const std::string name = harness_name(data::name_of(report.task), language.language);
      write_file_durably(folder / ("samples_" + name + "_" + run.date + ".jsonl"), lines);
    }
  }
  for (const PerplexityReport& report : perplexity) tables.add(report);
  write_file_durably(folder / ("results_" + run.date + ".json"), results_of(tables, run, config).dump(2) + '\n');
}

}  // namespace layalign::trainer
