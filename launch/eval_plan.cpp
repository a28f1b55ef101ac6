#include "launch/eval_plan.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "checkpoints_tools/hash.h"
#include "configs/error.h"
#include "configs/paths.h"
#include "launch/free_generation.h"
#include "trainer/evaluate.h"
#include "trainer/run_folder.h"

namespace layalign::launch {
namespace {

trainer::BenchmarkPlan prepare_benchmark(const EvalPlan& plan, const EvalArguments& arguments,
                                         data::EvaluationTask task) {
  const auto& config = plan.experiment.config;
  if (!config.data.root) {
    throw configs::ConfigError(
        "--task " + std::string(data::name_of(task)) +
        ": the test files lie under data.root (evaluation/): set it in the config, or --set data.root=DIR");
  }
  const auto root = configs::resolve_path(*config.data.root, config.folder);
  return {task, data::read_evaluation(task, root, arguments.languages, arguments.limit), plan.modes, plan.generation};
}

HeldOut prepare_held_out(const EvalPlan& plan, const EvalArguments& arguments) {
  HeldOut held_out{trainer::prepare_stage(plan.experiment, plan.stage()), {}};
  const auto& dev = held_out.stage.split.dev;
  if (dev.empty()) {
    throw configs::ConfigError("--task perplexity: the last stage of the config holds out no samples (dev_size)");
  }
  held_out.indices = trainer::select_held_out(*held_out.stage.dataset, dev, arguments.languages, arguments.limit);
  return held_out;
}

/// Refuses limits on tokens that the models cannot read; text is cut to these limits.
void check_limits(const EvalPlan& plan) {
  const auto& experiment = plan.experiment;
  const auto& stage = plan.stage();
  experiment.llm.check_sequence_length(
      experiment.llm_folder, 2 + stage.max_source_tokens + stage.max_target_tokens + plan.generation.max_new_tokens);
  const auto reads_source = [](trainer::AnswerMode mode) { return mode != trainer::AnswerMode::kLlm; };
  if (std::ranges::any_of(plan.modes, reads_source)) experiment.encoder.check_source_length(stage.max_source_tokens);
}

}  // namespace

std::vector<std::pair<std::string, std::string>> EvalPlan::agreement() const {
  auto topics = experiment.agreement();
  for (const auto& plan : benchmarks) {
    topics.emplace_back("questions of " + std::string(data::name_of(plan.task)), trainer::questions_hash(plan.items));
  }
  if (held_out) topics.emplace_back("corpus of stage " + stage().name, held_out->stage.corpus_fingerprint);
  if (!token_ids.empty()) {
    checkpoints_tools::Xxh3 hash;
    for (const auto& sample : token_ids) hash.update(nlohmann::json{sample.source, sample.prompt}.dump());
    topics.emplace_back("token ids", hash.hex());
  }
  return topics;
}

EvalPlan prepare_evaluation(const EvalArguments& arguments, const configs::RunConfig& config) {
  EvalPlan plan;
  const bool ids = arguments.has_task(kTokenIdsTask), text = arguments.has_task(kTextTask);
  plan.experiment = trainer::prepare_models(config, !ids);
  for (const auto& name : arguments.modes) plan.modes.push_back(*trainer::answer_mode_named(name));
  if (std::ranges::find(plan.modes, trainer::AnswerMode::kMapping) != plan.modes.end() &&
      config.model.mapping == "none") {
    throw configs::ConfigError("--compare mapping: this config trains no mapping (model.mapping: none)");
  }
  plan.generation.max_new_tokens = arguments.max_new_tokens.value_or(config.eval.max_new_tokens);
  plan.generation.batch = arguments.batch.value_or(config.eval.batch);
  plan.generation.sampling = arguments.sampling;
  const trainer::RunFolder run(config.output, config.stages);
  plan.output = arguments.output.empty() ? run.evaluation() : std::filesystem::path(arguments.output);
  if (ids) {
    plan.token_ids = read_token_ids(plan.experiment, plan.modes[0], arguments.input, plan.generation.max_new_tokens);
    return plan;
  }
  if (text) {
    if (!arguments.languages.empty())
      plan.text_language = arguments.languages[0];
    else if (prompt_names_language(plan.stage(), plan.modes[0])) {
      throw configs::ConfigError(
          "--task text: the prompt of the last stage says which language is translated; give --languages NAME");
    }
  }
  for (const auto& name : arguments.tasks) {
    const auto task = data::evaluation_task_named(name);
    if (task) plan.benchmarks.push_back(prepare_benchmark(plan, arguments, *task));
  }
  if (text || !plan.benchmarks.empty()) check_limits(plan);
  if (arguments.has_task(kPerplexityTask)) plan.held_out = prepare_held_out(plan, arguments);
  return plan;
}

}  // namespace layalign::launch
