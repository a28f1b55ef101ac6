// layalign-eval: scores a trained adapter on benchmarks, or generates text with it.

#include <ctime>
#include <iostream>
#include <nlohmann/json.hpp>

#include "checkpoints_tools/hash.h"
#include "configs/error.h"
#include "configs/paths.h"
#include "configs/reader.h"
#include "dist/agreement.h"
#include "launch/eval_arguments.h"
#include "launch/failure.h"
#include "launch/free_generation.h"
#include "launch/start.h"
#include "launch/threads.h"
#include "trainer/benchmark_run.h"
#include "trainer/evaluate.h"
#include "trainer/evaluation_files.h"
#include "trainer/evaluation_report.h"
#include "trainer/log.h"
#include "trainer/trainables_file.h"

namespace layalign::launch {
namespace {

namespace fs = std::filesystem;

/// The whole of a `layalign-eval` command after its command line has been read.
class EvalCommand {
 public:
  EvalCommand(const EvalArguments& arguments, std::shared_ptr<dist::Process> process)
      : arguments_(arguments), process_(std::move(process)) {}

  void run() {
    together([&] { config_ = configs::load_config(arguments_.config, arguments_.overrides); });
    set_up_threads(*process_, config_.parallel.threads);
    grid_ = start_grid(config_, process_);
    // The words that are generated go to standard output alone.
    if (is_text()) trainer::set_up_log(trainer::make_rank_tag(grid_.world_rank, grid_.world_size, grid_.tp_rank, grid_.dp_rank), false);
    together([&] { prepare(); });
    together([&] { dist::require_agreement(*process_, agreement()); });
    models_ = trainer::load_frozen_models(experiment_, grid_, [&](const auto& piece) { together(piece); });
    trainables_.emplace(experiment_.sizes, grid_.device);
    if (needs_checkpoint()) load_checkpoint();
    const trainer::Answering answering(grid_, experiment_, models_, *trainables_);
    const auto mode = *trainer::answer_mode_named(arguments_.modes[0]);
    const FreeGeneration free{grid_, experiment_, answering, mode, generation_, [&](const auto& piece) { together(piece); }};
    if (arguments_.has_task(kTokenIdsTask)) return continue_token_ids(free, arguments_.input, output_);
    if (is_text()) return answer_lines(free, arguments_.input, text_language());
    score(answering);
  }

 private:
  void together(const std::function<void()>& piece) const { launch::together(*process_, piece); }
  bool is_first() const { return grid_.world_rank == 0; }
  bool is_text() const { return arguments_.has_task(kTextTask); }
  bool has_mode(trainer::AnswerMode mode) const {
    return std::find(arguments_.modes.begin(), arguments_.modes.end(), trainer::name_of(mode)) != arguments_.modes.end();
  }
  bool needs_checkpoint() const { return arguments_.modes != std::vector<std::string>{"llm"} || arguments_.has_task(kPerplexityTask); }
  const configs::StageConfig& stage() const { return config_.stages.back(); }
  std::string text_language() const { return arguments_.languages.empty() ? "unknown" : arguments_.languages[0]; }

  void prepare() {
    experiment_ = trainer::prepare_models(config_, !arguments_.has_task(kTokenIdsTask));
    if (has_mode(trainer::AnswerMode::kMapping) && config_.model.mapping == "none") {
      throw configs::ConfigError("--compare mapping: this config trains no mapping (model.mapping: none)");
    }
    generation_.max_new_tokens = arguments_.max_new_tokens.value_or(config_.eval.max_new_tokens);
    generation_.batch = arguments_.batch.value_or(config_.eval.batch);
    generation_.sampling = arguments_.sampling;
    experiment_.llm.check_sequence_length(
        experiment_.llm_folder, 2 + stage().max_source_tokens + stage().max_target_tokens + generation_.max_new_tokens);
    output_ = arguments_.output.empty() ? fs::path(config_.output) / "evaluation" : fs::path(arguments_.output);
    for (const auto& name : arguments_.tasks) {
      if (const auto task = data::evaluation_task_named(name)) plans_.push_back(prepare_benchmark(*task));
    }
    if (arguments_.has_task(kPerplexityTask)) {
      held_out_ = trainer::prepare_stage(experiment_, stage());
      if (held_out_->split.dev.empty()) {
        throw configs::ConfigError("--task perplexity: the last stage of the config holds out no samples (dev_size)");
      }
    }
  }

  trainer::BenchmarkPlan prepare_benchmark(data::EvaluationTask task) const {
    if (!config_.data.root) {
      throw configs::ConfigError("--task " + std::string(data::name_of(task)) +
                                 ": the test files lie under data.root (evaluation/): set it in the config, or --set data.root=DIR");
    }
    const auto root = configs::resolve_path(*config_.data.root, config_.folder);
    trainer::BenchmarkPlan plan;
    plan.task = task;
    plan.items = data::read_evaluation(task, root, arguments_.languages, arguments_.limit);
    plan.generation = generation_;
    for (const auto& name : arguments_.modes) plan.modes.push_back(*trainer::answer_mode_named(name));
    return plan;
  }

  /// What all ranks must agree on, the questions too.
  std::vector<std::pair<std::string, std::string>> agreement() const {
    auto topics = experiment_.agreement();
    for (const auto& plan : plans_) {
      checkpoints_tools::Xxh3 hash;
      for (const auto& item : plan.items) hash.update(item.source + '\0' + item.answer + '\0');
      topics.emplace_back("questions of " + std::string(data::name_of(plan.task)), hash.hex());
    }
    return topics;
  }

  void load_checkpoint() {
    at::NoGradGuard no_grad;
    const fs::path path = arguments_.checkpoint.empty() ? fs::path(config_.output) : fs::path(arguments_.checkpoint);
    at::Tensor values;
    together([&] {
      if (is_first()) values = trainer::load_trainables(path, trainables_->layout());
    });
    if (is_first()) trainables_->masters().copy_(values);
    grid_.world.broadcast(trainables_->masters(), 0);
    trainer::log_info("trained weights: " + path.string());
  }

  /// What the answers depend on: an interrupted evaluation goes on only where nothing of it has changed.
  nlohmann::json identity() const {
    const auto masters = trainables_->masters().to(at::kCPU).contiguous();
    return {{"encoder", models_.encoder->fingerprint()},
            {"llm", models_.llm->fingerprint()},
            {"trainables", checkpoints_tools::xxh3_hex({static_cast<const std::byte*>(masters.const_data_ptr()), masters.nbytes()})},
            {"encoder_layers", experiment_.encoder_layers},
            {"language_layers", experiment_.language_layers},
            {"prompt", stage().prompt},
            {"max_source_tokens", stage().max_source_tokens},
            {"max_prompt_tokens", stage().max_target_tokens},
            {"max_new_tokens", generation_.max_new_tokens},
            {"temperature", generation_.sampling.temperature},
            {"top_p", generation_.sampling.top_p},
            {"seed", generation_.sampling.seed},
            {"precision", config_.parallel.precision}};
  }

  void score(const trainer::Answering& answering) {
    const std::time_t started = std::time(nullptr);
    std::optional<trainer::EvaluationOutputs> outputs;
    if (!plans_.empty()) {
      together([&] {
        if (!is_first()) return;
        fs::create_directories(output_);
        outputs.emplace(output_ / "outputs.jsonl", identity());
      });
    }
    for (const auto& plan : plans_) {
      trainer::run_benchmark(answering, grid_, experiment_, stage(), plan, outputs ? &*outputs : nullptr);
      if (is_first()) report(plan, *outputs);
    }
    if (held_out_) measure_perplexity(answering);
    if (is_first()) write_results(started);
  }

  void report(const trainer::BenchmarkPlan& plan, const trainer::EvaluationOutputs& outputs) {
    std::vector<trainer::TaskReport> reports;
    for (const auto mode : plan.modes) {
      reports.push_back(trainer::make_report(plan.task, std::string(trainer::name_of(mode)), plan.items, outputs));
      trainer::write_public_files(output_ / std::string(trainer::name_of(mode)) / std::string(data::name_of(plan.task)), reports.back());
      reports_.push_back(reports.back());
    }
    std::cout << "\n" << trainer::score_table(reports) << std::flush;
  }

  void measure_perplexity(const trainer::Answering& answering) {
    std::vector<trainer::PerplexityReport> reports;
    for (const auto& name : arguments_.modes) {
      if (name == "llm") continue;  // the held-out targets are predicted from the mapped source
      const auto mode = *trainer::answer_mode_named(name);
      const auto layalign = answering.parts(mode);
      const auto layers = mode == trainer::AnswerMode::kLayAlign ? experiment_.encoder_layers : std::vector<int64_t>();
      const trainer::Models models{*models_.encoder, *models_.llm, layalign, *trainables_, layers};
      const auto found = trainer::evaluate_perplexity(grid_, models, *held_out_->dataset, held_out_->split.dev, stage().micro_batch);
      trainer::PerplexityReport report;
      report.mode = name;
      for (const auto& [language, perplexity] : found.by_language) report.languages.push_back({language, perplexity, 0});
      report.perplexity = found.perplexity;
      report.label_tokens = found.label_tokens;
      reports.push_back(std::move(report));
    }
    if (reports.empty()) return;
    if (is_first()) std::cout << "\n" << trainer::perplexity_table(reports) << std::flush;
    perplexities_ = std::move(reports);
  }

  void write_results(std::time_t started) const {
    std::array<char, 32> date{};
    std::strftime(date.data(), date.size(), "%Y-%m-%dT%H-%M-%S", std::localtime(&started));
    trainer::HarnessRun run;
    run.model_name = arguments_.checkpoint.empty() ? config_.output : arguments_.checkpoint;
    run.date = date.data();
    run.start_s = static_cast<double>(started);
    run.evaluation_s = std::difftime(std::time(nullptr), started);
    for (const auto& mode : arguments_.modes) {
      std::vector<trainer::TaskReport> tasks;
      std::vector<trainer::PerplexityReport> perplexity;
      std::copy_if(reports_.begin(), reports_.end(), std::back_inserter(tasks), [&](const auto& report) { return report.mode == mode; });
      std::copy_if(perplexities_.begin(), perplexities_.end(), std::back_inserter(perplexity), [&](const auto& report) { return report.mode == mode; });
      const nlohmann::ordered_json config = {
          {"model", "layalign"},
          {"model_args", {{"mode", mode}, {"encoder", config_.model.encoder}, {"llm", config_.model.llm}, {"checkpoint", run.model_name}}},
          {"batch_size", generation_.batch},
          {"device", grid_.device.str()},
          {"dtype", config_.parallel.precision},
          {"limit", arguments_.limit ? nlohmann::ordered_json(*arguments_.limit) : nlohmann::ordered_json()},
          {"random_seed", generation_.sampling.seed},
          {"gen_kwargs", {{"max_gen_toks", generation_.max_new_tokens}, {"temperature", generation_.sampling.temperature}, {"top_p", generation_.sampling.top_p}}}};
      if (!tasks.empty() || !perplexity.empty()) trainer::write_harness_files(output_ / mode, tasks, perplexity, run, config);
    }
    std::cout << "\nresults: " << output_.string() << "\n" << std::flush;
  }

  const EvalArguments& arguments_;
  std::shared_ptr<dist::Process> process_;
  configs::RunConfig config_;
  dist::ProcessGrid grid_;
  trainer::Experiment experiment_;
  trainer::FrozenModels models_;
  std::optional<model::Trainables> trainables_;
  model::GenerationOptions generation_;
  fs::path output_;
  std::vector<trainer::BenchmarkPlan> plans_;
  std::optional<trainer::PreparedStage> held_out_;
  std::vector<trainer::TaskReport> reports_;
  std::vector<trainer::PerplexityReport> perplexities_;
};

int main(int argc, char** argv) {
  EvalArguments arguments;
  if (const auto code = arguments.parse(argc, argv)) return *code;
  return run_program([&](std::shared_ptr<dist::Process> process) { EvalCommand(arguments, std::move(process)).run(); });
}

}  // namespace
}  // namespace layalign::launch

int main(int argc, char** argv) { return layalign::launch::main(argc, argv); }
