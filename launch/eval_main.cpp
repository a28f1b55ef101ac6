// layalign-eval: scores a trained adapter on benchmarks, or generates text with it.

#include <ATen/core/grad_mode.h>
#include <nlohmann/json.hpp>

#include "checkpoints_tools/file_operations.h"
#include "configs/reader.h"
#include "launch/eval_arguments.h"
#include "launch/eval_plan.h"
#include "launch/eval_representations.h"
#include "launch/eval_scores.h"
#include "launch/failure.h"
#include "launch/free_generation.h"
#include "launch/signals.h"
#include "launch/start.h"
#include "launch/threads.h"
#include "launch/watched.h"
#include "trainer/evaluate.h"
#include "trainer/grid_choice.h"
#include "trainer/log.h"
#include "trainer/stop.h"
#include "trainer/trainables_file.h"

namespace layalign::launch {
namespace {

/// The whole of a `layalign-eval` command after its command line has been read.
class EvalCommand {
 public:
  EvalCommand(const EvalArguments& arguments, std::shared_ptr<dist::Process> process)
      : arguments_(arguments), process_(std::move(process)) {}

  void run() {
    configs::RunConfig config;
    together([&] { config = configs::load_config(arguments_.config, arguments_.overrides); });
    // Questions are no part of the corpora that a cache was built from: what is there is read, nothing is added. It may not have
    // all layers, which representations are made of.
    if (config.cache.mode != "off") config.cache.mode = arguments_.has_task(kRepresentationsTask) ? "off" : "auto";
    set_up_threads(*process_, config.parallel.threads);
    // Training chose by memory and time; what it chose serves here too.
    if (config.parallel.tensor.is_auto()) config.parallel.tensor = stored_tensor_size(config);
    // Whoever waits for lines that a person types may wait for long.
    if (arguments_.has_task(kTextTask)) return answer(config, nullptr);
    with_watchdog(process_, config.watchdog, [&](dist::Watchdog& watchdog) { answer(config, &watchdog); });
  }

 private:
  void answer(const configs::RunConfig& config, dist::Watchdog* watchdog) {
    grid_ = start_grid(config, process_, watchdog);
    const bool text = arguments_.has_task(kTextTask);
    // The words that are generated go to standard output alone.
    if (text)
      trainer::set_up_log(trainer::make_rank_tag(grid_.world_rank, grid_.world_size, grid_.tp_rank, grid_.dp_rank),
                          false);
    together([&] { plan_ = prepare_evaluation(arguments_, config); });
    agree_on(*process_, [&] { return plan_.agreement(); });
    models_ = trainer::load_frozen_models(plan_.experiment, grid_, [&](const auto& piece) { together(piece); });
    trainables_.emplace(plan_.experiment.sizes, grid_.device);
    if (arguments_.untrained) {
      trainer::initialise_trainables(*trainables_, plan_.experiment, grid_, [&](const auto& piece) { together(piece); });
    } else if (plan_.modes != std::vector{trainer::AnswerMode::kLlm}) {
      load_checkpoint();
    }
    const trainer::Answering answering(grid_, plan_.experiment, models_, *trainables_);
    const FreeGeneration free{grid_,          plan_.experiment, answering,
                              plan_.modes[0], plan_.generation, [&](const auto& piece) { together(piece); }};
    if (!plan_.token_ids.empty()) return continue_token_ids(free, plan_.token_ids, plan_.output);
    if (text) return answer_lines(free, arguments_.input, plan_.text_language);
    if (plan_.sentences) {
      return evaluate_representations({grid_, plan_, models_, *trainables_, answering,
                                       [&](const auto& piece) { together(piece); },
                                       arguments_.untrained ? kUntrained : checkpoint()});
    }
    score(answering);
  }

  /// What the run in `output` chose on as many ranks, else 1.
  int64_t stored_tensor_size(const configs::RunConfig& config) const {
    std::string chosen;
    together([&] {
      if (process_->world_rank() != 0) return;
      const auto choice =
          trainer::stored_choice(trainer::RunFolder(config.output, config.stages), process_->world_size());
      chosen = std::to_string(choice ? choice->tensor : 1);
    });
    return std::stoll(process_->broadcast(chosen, 0));
  }

  void together(const std::function<void()>& piece) const { launch::together(*process_, piece); }
  bool is_first() const { return grid_.world_rank == 0; }
  std::string checkpoint() const {
    return arguments_.checkpoint.empty() ? plan_.experiment.config.output : arguments_.checkpoint;
  }

  void load_checkpoint() {
    at::NoGradGuard no_grad;
    trainer::TrainablesPlace place;
    at::Tensor values;
    together([&] {
      if (!is_first()) return;
      place = trainer::find_trainables(checkpoint());
      values = trainer::load_trainables(place.file, trainables_->layout());
    });
    if (is_first()) {
      trainables_->masters().copy_(values);
      trainer::log_info("trained weights: " + place.file.string());
      for (const auto& stage : place.unfinished) {
        trainer::log_warn("stage " + stage +
                          " of this run has not ended: these weights are those of the stage before it");
      }
    }
    grid_.world.broadcast(trainables_->masters(), 0);
  }

  void score(const trainer::Answering& answering) {
    EvalScores scores(plan_, checkpoint(), grid_.device.str());
    std::optional<trainer::EvaluationOutputs> outputs;
    if (!plan_.benchmarks.empty()) {
      together([&] {
        if (!is_first()) return;
        checkpoints_tools::make_folder(plan_.output);
        outputs.emplace(plan_.output / "outputs.jsonl", trainer::output_identity(plan_.experiment, models_, *trainables_,
                                                                                plan_.stage(), plan_.generation));
      });
    }
    for (const auto& benchmark : plan_.benchmarks) {
      const bool answered = trainer::run_benchmark(answering, grid_, plan_.experiment, plan_.stage(), benchmark,
                                                   outputs ? &*outputs : nullptr, [&] { return !reason_to_stop().empty(); });
      if (!answered) leave();
      if (is_first()) scores.add(benchmark, *outputs);
    }
    if (plan_.held_out) {
      auto perplexities = measure_perplexity(answering);
      if (is_first()) scores.add(std::move(perplexities));
    }
    if (is_first()) scores.write(arguments_.limit);
  }

  /// That of the first rank that has one; empty: none was asked to stop.
  std::string reason_to_stop() const { return trainer::agreed_reason(trainer::asked_to_stop(), process_.get()); }

  /// Errors: StoppedError.
  [[noreturn]] void leave() const {
    throw trainer::StoppedError("stopped (" + reason_to_stop() +
                                "); the answers so far are kept, the same command goes on from there");
  }

  std::vector<trainer::PerplexityReport> measure_perplexity(const trainer::Answering& answering) {
    std::vector<trainer::PerplexityReport> reports;
    const auto& [stage, indices] = *plan_.held_out;
    for (const auto mode : plan_.modes) {
      if (mode == trainer::AnswerMode::kLlm) continue;  // the held-out targets are predicted from the mapped source
      const auto layalign = answering.parts(mode);
      const auto layers =
          mode == trainer::AnswerMode::kLayAlign ? plan_.experiment.encoder_layers : std::vector<int64_t>();
      const trainer::Models models{*models_.encoder, *models_.llm, layalign, *trainables_, layers};
      const auto measured = trainer::evaluate_perplexity(grid_, models, *stage.dataset, indices, stage.config.micro_batch,
                                                         [&] { return !reason_to_stop().empty(); });
      if (!measured) leave();
      const auto& found = *measured;
      trainer::PerplexityReport report;
      report.mode = trainer::name_of(mode);
      for (size_t i = 0; i < found.by_language.size(); ++i) {
        const auto& [language, perplexity] = found.by_language[i];
        report.languages.push_back({language, perplexity, found.language_label_tokens[i]});
      }
      report.perplexity = found.perplexity;
      report.label_tokens = found.label_tokens;
      reports.push_back(std::move(report));
    }
    return reports;
  }

  const EvalArguments& arguments_;
  std::shared_ptr<dist::Process> process_;
  dist::ProcessGrid grid_;
  EvalPlan plan_;
  trainer::FrozenModels models_;
  std::optional<model::Trainables> trainables_;
};

int main(int argc, char** argv) {
  EvalArguments arguments;
  if (const auto code = arguments.parse(argc, argv)) return *code;
  // An answer to a line or to token ids is not kept: there is nothing to save.
  if (!arguments.has_task(kTextTask) && !arguments.has_task(kTokenIdsTask)) catch_stop_signals();
  return run_program([&](std::shared_ptr<dist::Process> process) { EvalCommand(arguments, std::move(process)).run(); });
}

}  // namespace
}  // namespace layalign::launch

int main(int argc, char** argv) { return layalign::launch::main(argc, argv); }
