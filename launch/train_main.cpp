// layalign-train: trains all stages of a config.

#include <CLI/CLI.hpp>
#include <iostream>

#include "configs/error.h"
#include "configs/reader.h"
#include "dist/process_grid.h"
#include "dist/tensor_memory.h"
#include "launch/failure.h"
#include "launch/signals.h"
#include "launch/start.h"
#include "launch/threads.h"
#include "launch/watched.h"
#include "trainer/checkpoint_place.h"
#include "trainer/data_check.h"
#include "trainer/error.h"
#include "trainer/experiment.h"
#include "trainer/grid_choice.h"
#include "trainer/log.h"
#include "trainer/plan_report.h"
#include "trainer/run_folder.h"
#include "trainer/summary.h"
#include "trainer/training.h"

namespace layalign::launch {
namespace {

constexpr const char* kResumeAuto = "auto";
constexpr const char* kResumeNever = "never";

struct Arguments {
  std::string config;
  std::vector<std::string> overrides;
  bool dry_run = false;
  bool check_data = false;
  bool profile = false;
  std::string help_config;  // empty, text or markdown
  std::string resume = kResumeAuto;
  std::string gpu;  // of a dry run; empty: this machine
  int world = 0;    // of a dry run; 0: the ranks that are there
};

/// The whole of a `layalign-train` command after its command line has been read.
class TrainCommand {
 public:
  TrainCommand(const Arguments& arguments, std::shared_ptr<dist::Process> process)
      : arguments_(arguments), process_(std::move(process)) {}

  void run() {
    together([&] { config_ = configs::load_config(arguments_.config, arguments_.overrides); });
    together([&] { check_resume(); });
    const int64_t threads = set_up_threads(*process_, config_.parallel.threads);
    if (arguments_.dry_run) return dry_run();
    if (arguments_.check_data) return check_data();
    with_watchdog(process_, config_.watchdog, [&](dist::Watchdog& watchdog) { train(watchdog, threads); });
  }

 private:
  void together(const std::function<void()>& piece) const { launch::together(*process_, piece); }

  void train(dist::Watchdog& watchdog, int64_t threads) {
    dist::count_cpu_tensors();
    if (config_.parallel.tensor.is_auto()) choose_grid();
    grid_ = start_grid(config_, process_, &watchdog);
    together([&] { experiment_ = trainer::prepare_experiment(config_); });
    agree_on(*process_, [&] { return experiment_.agreement(); });
    if (is_finished(/*tell_changes=*/true)) return;
    run_stages(threads);
  }

  void dry_run() {
    const int world = arguments_.world > 0 ? arguments_.world
                                           : std::max(process_->world_size(), static_cast<int>(config_.parallel.tensor));
    together([&] {
      auto config = config_;
      if (config.parallel.tensor.is_auto()) config.parallel.tensor = 1;
      check_world(config, world);
      experiment_ = trainer::prepare_experiment(config);
    });
    if (process_->world_rank() != 0) return;
    const auto machine = planned_machine(world);
    if (config_.parallel.tensor.is_auto()) {
      const auto choice = trainer::choose_grid(experiment_, machine, world);
      experiment_.config.parallel.tensor = choice.tensor;
      std::cout << choice.reason << "\n\n";
    }
    std::cout << trainer::plan_report(experiment_, world, machine) << std::flush;
  }

  /// Replaces parallel.tensor: auto by a number: that of the run in `output` where it began on as many ranks, else the
  /// planner's.
  void choose_grid() {
    std::string chosen;
    together([&] {
      if (process_->world_rank() != 0) return;
      const trainer::RunFolder folder(config_.output, config_.stages);
      grid_choice_ = trainer::stored_choice(folder, process_->world_size());
      if (!grid_choice_) {
        auto config = config_;
        config.parallel.tensor = 1;
        const auto machine = trainer::this_machine(config.parallel, process_->local_size(), process_->local_rank());
        grid_choice_ = trainer::choose_grid(trainer::prepare_experiment(config), machine, process_->world_size());
      }
      trainer::log_info(grid_choice_->reason);
      chosen = std::to_string(grid_choice_->tensor);
    });
    config_.parallel.tensor = std::stoll(process_->broadcast(chosen, 0));
  }

  /// Of a dry run: the GPU of --gpu, else this machine's CPU.
  trainer::Machine planned_machine(int world) const {
    if (arguments_.gpu.empty()) return trainer::cpu_machine(world);
    return *trainer::gpu_machine(arguments_.gpu, config_.parallel.precision);
  }

  /// On the first rank, for all.
  void check_data() {
    std::string broken;
    together([&] {
      if (process_->world_rank() != 0) return;
      const auto check = trainer::check_data(config_);
      std::cout << check.report << std::flush;
      if (check.problems > 0)
        broken = arguments_.config + ": its data are broken at " + std::to_string(check.problems) + " places";
    });
    broken = process_->broadcast(broken, 0);
    if (!broken.empty()) throw AgreedFailure(broken, kBadInput);
  }

  /// Looks at the output folder: on the first rank, for all.
  bool is_finished(bool tell_changes) {
    bool finished = false;
    together([&] {
      if (process_->world_rank() != 0) return;
      std::vector<std::string> changed;
      const trainer::RunFolder folder(config_.output, config_.stages);
      const auto state = trainer::inspect_run(folder, config_, &changed);
      if (state != trainer::RunState::kFresh && arguments_.resume == kResumeNever) {
        throw configs::ConfigError("--resume never: " + config_.output + " holds a run already; choose another `output`, or remove it");
      }
      finished = state == trainer::RunState::kFinished;
      if (!tell_changes) changed.clear();
      for (const auto& difference : changed) trainer::log_info("changed since the run began: " + difference);
      if (finished) {
        trainer::log_info(config_.output + ": this run is finished; nothing was changed. Choose another output to train again");
      }
    });
    return process_->broadcast(finished ? "finished" : "", 0) == "finished";
  }

  /// Whether a fresh run goes on from a checkpoint of another one.
  bool begins_elsewhere() const { return arguments_.resume != kResumeAuto && arguments_.resume != kResumeNever; }

  /// Finds the checkpoint that --resume means; refuses what is none, or none of a run with the same trained parts.
  void check_resume() {
    if (!begins_elsewhere()) return;
    const auto refuse = [&](const std::string& why) {
      throw configs::ConfigError("--resume '" + arguments_.resume + "': " + why);
    };
    const std::string expected =
        "expected auto, never, or a training checkpoint in its run, such as "
        "runs/mine/1-translation/step-00000200, or the folder of its stage or run: the newest one there";
    if (!std::filesystem::exists(arguments_.resume)) {
      if (began_there()) return;  // the run knows where, and may have checkpoints of its own
      refuse("there is no such folder; " + expected);
    }
    const trainer::CheckpointPlace place(arguments_.resume);
    const bool has_checkpoints =
        place.kind() != trainer::PlaceKind::kFile && place.kind() != trainer::PlaceKind::kAdapter;
    if (!has_checkpoints || place.run().empty()) refuse("is " + trainer::describe(place.kind()) + "; " + expected);
    if (std::filesystem::exists(config_.output) && std::filesystem::equivalent(place.run(), config_.output)) {
      refuse(
          "lies in `output` itself, where a run goes on from its newest checkpoint; choose another `output` to go on "
          "from an earlier one");
    }
    begin_at_ = std::filesystem::absolute(place.checkpoint()).lexically_normal();
    for (const auto& difference : trainer::differences_from(place.run(), config_)) {
      if (process_->world_rank() == 0) trainer::log_info("differs from the run of --resume: " + difference);
    }
  }

  /// Whether the run in `output` began at what --resume names, which may be gone since.
  bool began_there() const {
    if (arguments_.resume.empty()) return false;
    const auto origin = trainer::origin_of(trainer::RunFolder(config_.output, config_.stages));
    const auto inside = origin.lexically_relative(std::filesystem::absolute(arguments_.resume).lexically_normal());
    return !inside.empty() && *inside.begin() != "..";
  }

  void run_stages(int64_t threads) {
    for (const auto& line : trainer::plan_lines(experiment_, grid_, threads)) trainer::log_info(line);
    std::optional<trainer::RunLock> lock;  // goes last: the training may still be writing a checkpoint when it ends
    const trainer::RunFolder folder(config_.output, config_.stages);
    together([&] {
      if (grid_.world_rank == 0) lock.emplace(folder);
    });
    if (is_finished(/*tell_changes=*/false)) return;  // looked at again: until now another run could write here
    trainer::Training training(grid_, experiment_, threads, arguments_.profile,
                               [&](const auto& piece) { together(piece); });
    training.load();
    training.find_checkpoint(begin_at_);
    together([&] {
      if (grid_.world_rank != 0) return;
      trainer::begin_run(folder, config_, training.origin());
      if (grid_choice_) trainer::store_choice(folder, grid_.world_size, *grid_choice_);
    });
    training.restore();
    try {
      training.run();
    } catch (const trainer::DivergedError& error) {  // every rank throws it alike
      throw AgreedFailure(error.what() +
                              std::string("\nTo go on from its last checkpoint with another lr, choose "
                                          "another `output` and --resume ") +
                              config_.output + ". optimizer.skip_nonfinite may be raised without that.",
                          kDiverged);
    }
    if (grid_.world_rank == 0) std::cout << trainer::summary_text(folder, trainer::summarize_run(folder)) << std::flush;
  }

  const Arguments& arguments_;
  std::shared_ptr<dist::Process> process_;
  configs::RunConfig config_;
  std::filesystem::path begin_at_;  // a checkpoint of another run
  dist::ProcessGrid grid_;
  trainer::Experiment experiment_;
  std::optional<trainer::GridChoice> grid_choice_;  // on the first rank, in parallel.tensor: auto
};

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Trains LayAlign: all stages of a config, in order. Start it under mpirun for several ranks.", "layalign-train");
  app.set_version_flag("--version", LAYALIGN_VERSION);
  auto* config = app.add_option("config", arguments.config, "config file (YAML or JSON)");
  app.add_option("--set", arguments.overrides, "overrides a key of the config, such as optimizer.eps=1e-6 (repeatable)")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  app.add_flag("--dry-run", arguments.dry_run, "prints the resolved config and the plan of the run, and trains nothing");
  app.add_flag("--check-data", arguments.check_data,
               "reads all corpora and benchmarks of the config, prints what is in them and trains nothing");
  app.add_flag(
      "--profile", arguments.profile,
      "counts and times every step and logs, at the end of each stage, its work by part, collectives and phases");
  app.add_option("--resume", arguments.resume,
                 "auto (the default): go on where `output` was left, or begin; never: only begin, in an output that is "
                 "empty; CHECKPOINT: "
                 "like auto, but begin at that training checkpoint of another run, or at the newest one of a run or "
                 "stage folder")
      ->take_last();
  app.add_option("--world", arguments.world, "number of ranks that a dry run plans for")->take_last()->check(CLI::PositiveNumber);
  app.add_option("--gpu", arguments.gpu, "GPU that a dry run plans for, one a rank; without it this machine's CPU")
      ->take_last()
      ->check(CLI::IsMember({"h200", "h100", "a100", "l40s", "l40"}, CLI::ignore_case));
  app.add_flag("--help-config{text}", arguments.help_config,
               "prints every key of the config with its meaning and default; =markdown: as the tables of "
               "docs/configuration.md")
      ->check(CLI::IsMember({"text", "markdown"}));
  try {
    app.parse(argc, argv);
    if (arguments.help_config.empty() && config->count() == 0) throw CLI::RequiredError("config");
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kDone : kUsage;
  }
  if (!arguments.help_config.empty()) {
    std::cout << (arguments.help_config == "markdown" ? configs::help_markdown() : configs::help_text());
    return kDone;
  }
  if (!arguments.dry_run && !arguments.check_data) catch_stop_signals();
  return run_program([&](std::shared_ptr<dist::Process> process) { TrainCommand(arguments, std::move(process)).run(); });
}

}  // namespace
}  // namespace layalign::launch

int main(int argc, char** argv) { return layalign::launch::main(argc, argv); }
