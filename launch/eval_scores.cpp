#include "launch/eval_scores.h"

#include <algorithm>
#include <array>
#include <iostream>
#include <iterator>
#include <utility>

#include "trainer/evaluation_files.h"

namespace layalign::launch {
namespace {

/// Those of `reports` that are of a mode.
template <class Report>
std::vector<Report> of_mode(const std::vector<Report>& reports, std::string_view mode) {
  std::vector<Report> chosen;
  std::ranges::copy_if(reports, std::back_inserter(chosen), [&](const Report& report) { return report.mode == mode; });
  return chosen;
}

}  // namespace

EvalScores::EvalScores(const EvalPlan& plan, std::string checkpoint, std::string device)
    : plan_(plan), checkpoint_(std::move(checkpoint)), device_(std::move(device)) {}

void EvalScores::add(const trainer::BenchmarkPlan& benchmark, const trainer::EvaluationOutputs& outputs) {
  std::vector<trainer::TaskReport> reports;
  for (const auto mode : benchmark.modes) {
    const std::string name(trainer::name_of(mode));
    reports.push_back(trainer::make_report(benchmark.task, name, benchmark.items, outputs));
    trainer::write_public_files(plan_.output / name / std::string(data::name_of(benchmark.task)), reports.back());
  }
  std::cout << "\n" << trainer::score_table(reports) << std::flush;
  std::ranges::move(reports, std::back_inserter(tasks_));
}

void EvalScores::add(std::vector<trainer::PerplexityReport> reports) {
  std::cout << "\n" << trainer::perplexity_table(reports) << std::flush;
  perplexities_ = std::move(reports);
}

nlohmann::ordered_json EvalScores::harness_config(trainer::AnswerMode mode, std::optional<int64_t> limit) const {
  const auto& config = plan_.experiment.config;
  const auto& sampling = plan_.generation.sampling;
  return {{"model", "layalign"},
          {"model_args",
           {{"mode", trainer::name_of(mode)},
            {"encoder", config.model.encoder},
            {"llm", config.model.llm},
            {"checkpoint", checkpoint_}}},
          {"batch_size", plan_.generation.batch},
          {"device", device_},
          {"dtype", config.parallel.precision},
          {"limit", limit ? nlohmann::ordered_json(*limit) : nlohmann::ordered_json()},
          {"random_seed", sampling.seed},
          {"gen_kwargs",
           {{"max_gen_toks", plan_.generation.max_new_tokens},
            {"temperature", sampling.temperature},
            {"top_p", sampling.top_p}}}};
}

void EvalScores::write(std::optional<int64_t> limit) const {
  std::array<char, 32> date{};
  std::strftime(date.data(), date.size(), "%Y-%m-%dT%H-%M-%S", std::localtime(&started_));
  trainer::HarnessRun run;
  run.model_name = checkpoint_;
  run.date = date.data();
  run.start_s = static_cast<double>(started_);
  run.evaluation_s = std::difftime(std::time(nullptr), started_);
  for (const auto mode : plan_.modes) {
    const auto name = trainer::name_of(mode);
    const auto tasks = of_mode(tasks_, name);
    const auto perplexity = of_mode(perplexities_, name);
    if (tasks.empty() && perplexity.empty()) continue;
    trainer::write_harness_files(plan_.output / std::string(name), tasks, perplexity, run, harness_config(mode, limit));
  }
  std::cout << "\nresults: " << plan_.output.string() << "\n" << std::flush;
}

}  // namespace layalign::launch
