#include "launch/eval_arguments.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "configs/languages.h"
#include "launch/failure.h"

namespace layalign::launch {
namespace {

/// Each element must be one of `known`; of a comma-separated list CLI11 hands over the elements one by one.
CLI::Validator one_of(std::vector<std::string> known, const std::string& what) {
  return {[known, what](const std::string& value) {
            if (std::find(known.begin(), known.end(), value) != known.end()) return std::string();
            return "unknown " + what + " '" + value + "'; there are " + CLI::detail::join(known, ", ");
          },
          ""};
}

/// The first name that a list has twice; empty where there is none.
std::string repeated(const std::vector<std::string>& names) {
  for (size_t i = 0; i < names.size(); ++i) {
    if (std::find(names.begin(), names.begin() + i, names[i]) != names.begin() + i) return names[i];
  }
  return "";
}

/// What is wrong with a command line that asks for text or token_ids, which answer what they are given.
std::string problem_of_free(const EvalArguments& arguments) {
  const bool ids = arguments.has_task(kTokenIdsTask);
  const std::string task = std::string("--task ") + (ids ? kTokenIdsTask : kTextTask);
  if (arguments.tasks.size() > 1) return "--task: text and token_ids go alone";
  if (arguments.modes.size() > 1) return "--compare: text and token_ids take one way to answer";
  if (arguments.limit) return "--limit: " + task + " answers every line of its input";
  if (ids && !arguments.languages.empty()) return "--languages: " + task + " reads ids, which have no language";
  if (ids && arguments.input.empty()) return task + " needs --input FILE.jsonl";
  if (ids && arguments.output.empty()) return task + " needs --output DIR";
  if (!ids && !arguments.output.empty()) return "--output: " + task + " prints its answers; redirect them to a file";
  if (arguments.languages.size() > 1) return "--languages: " + task + " takes one, that of its input";
  if (!arguments.languages.empty() && !configs::language_code(arguments.languages[0])) {
    std::string known;
    for (const auto& language : configs::kLanguages) known += (known.empty() ? "" : ", ") + std::string(language.name);
    return "--languages: unknown language '" + arguments.languages[0] + "'; there are " + known;
  }
  return "";
}

std::string problem_of(const EvalArguments& arguments) {
  if (const auto name = repeated(arguments.tasks); !name.empty()) return "--task: " + name + " is there twice";
  if (const auto name = repeated(arguments.modes); !name.empty()) return "--compare: " + name + " is there twice";
  const bool representations = arguments.has_task(kRepresentationsTask);
  if (representations && arguments.tasks.size() > 1) return "--task: representations goes alone";
  if (arguments.untrained && !representations) return "--untrained belongs to the task representations";
  if (arguments.untrained && !arguments.checkpoint.empty()) return "--untrained takes no --checkpoint";
  if (arguments.has_task(kTokenIdsTask) || arguments.has_task(kTextTask)) return problem_of_free(arguments);
  if (!arguments.input.empty()) return "--input belongs to the tasks text and token_ids";
  if (arguments.has_task(kPerplexityTask) && arguments.modes == std::vector<std::string>{"llm"}) {
    return "--compare llm: perplexity is that of targets after the mapped source, which the LLM alone does not read; "
           "compare mapping or layalign too";
  }
  return "";
}

}  // namespace

bool EvalArguments::has_task(const std::string& name) const {
  return std::find(tasks.begin(), tasks.end(), name) != tasks.end();
}

std::optional<int> EvalArguments::parse(int argc, char** argv) {
  CLI::App app(
      "Scores a trained adapter on benchmarks, or generates text with it. Start it under mpirun for several ranks.",
      "layalign-eval");
  app.set_version_flag("--version", LAYALIGN_VERSION);
  app.add_option("config", config, "the config that it was trained with (YAML or JSON)")->required();
  app.add_option(
         "--checkpoint", checkpoint,
         "trained weights: a .safetensors file, a checkpoint, a stage's folder, a run or an exported adapter (default: the config's output)")
      ->take_last();
  app.add_flag("--untrained", untrained, "representations: with the weights that a run begins with");
  app.add_option("--task", tasks,
                 "what to do, comma-separated: mgsm, msvamp, x_csqa, xnli, perplexity; or one of text, token_ids, "
                 "representations (mean states of the questions of MSVAMP, and how near those of a language are to English)")
      ->required()
      ->delimiter(',')
      ->check(one_of({"mgsm", "msvamp", "x_csqa", "xnli", kPerplexityTask, kTextTask, kTokenIdsTask, kRepresentationsTask}, "task"));
  app.add_option("--languages", languages,
                 "by English name, comma-separated (default: all that are there); task text: "
                 "the one of the input")
      ->delimiter(',');
  app.add_option("--limit", limit, "first questions (perplexity: held-out samples) to take of each language")
      ->take_last()
      ->check(CLI::PositiveNumber);
  app.add_option("--compare", modes,
                 "ways to answer, side by side: llm (the frozen LLM alone), mapping (without the aligner), "
                 "layalign (all that was trained; the default)")
      ->delimiter(',')
      ->check(one_of({"llm", "mapping", "layalign"}, "way to answer"));
  app.add_option("--output", output, "folder for the results (default: evaluation/ in the config's output)")
      ->take_last();
  app.add_option("--input", input,
                 "text: a file with a line each (default: standard input); token_ids: JSONL of {source, prompt}")
      ->take_last();
  app.add_option("--max-new-tokens", max_new_tokens, "tokens to generate at most (default: eval.max_new_tokens)")
      ->check(CLI::PositiveNumber)
      ->take_last();
  app.add_option("--batch", batch, "samples at once on a data-parallel rank (default: eval.batch)")
      ->check(CLI::PositiveNumber)
      ->take_last();
  app.add_option("--temperature", sampling.temperature, "draws tokens at this temperature (default: 0, greedy)")
      ->check(CLI::NonNegativeNumber)
      ->take_last();
  app.add_option("--top-p", sampling.top_p, "draws from the likeliest tokens of this probability together")
      ->check(CLI::Range(1e-6, 1.0))
      ->take_last();
  app.add_option("--seed", sampling.seed, "of the draws")->take_last();
  app.add_option("--set", overrides, "overrides a key of the config, such as parallel.tensor=4 (repeatable)")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  try {
    app.parse(argc, argv);
    if (const auto problem = problem_of(*this); !problem.empty()) throw CLI::ValidationError(problem);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kDone : kUsage;
  }
  return std::nullopt;
}

}  // namespace layalign::launch
