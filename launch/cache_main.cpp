// layalign-cache: builds, verifies and describes caches of the encoder's per-layer states.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>

#include "checkpoints_tools/file_operations.h"
#include "configs/reader.h"
#include "data/activation_cache/activation_cache.h"
#include "data/error.h"
#include "dist/agreement.h"
#include "launch/failure.h"
#include "launch/signals.h"
#include "launch/start.h"
#include "launch/threads.h"
#include "launch/watched.h"
#include "trainer/cache_build.h"
#include "trainer/cached_models.h"
#include "trainer/format.h"
#include "trainer/log.h"
#include "trainer/progress.h"
#include "trainer/stop.h"

namespace layalign::launch {
namespace {

namespace fs = std::filesystem;

struct CacheArguments {
  std::string config;                  // of build
  std::vector<std::string> overrides;  // of build
  bool dry_run = false;                // of build
  std::string folder;                  // of verify and info
};

/// `layalign-cache build`.
class BuildCommand {
 public:
  BuildCommand(const CacheArguments& arguments, std::shared_ptr<dist::Process> process)
      : arguments_(arguments), process_(std::move(process)) {}

  void run() {
    together([&] {
      config_ = configs::load_config(arguments_.config, arguments_.overrides);
      folder_ = trainer::cache_folder(config_);
    });
    config_.cache.mode = "write";     // of the training, not of the build
    config_.parallel.tensor = 1;      // every rank encodes by itself
    set_up_threads(*process_, config_.parallel.threads);
    with_watchdog(process_, config_.watchdog, [&](dist::Watchdog& watchdog) { build_missing(watchdog); });
  }

 private:
  void build_missing(dist::Watchdog& watchdog) {
    const auto grid = start_grid(config_, process_, &watchdog);
    trainer::Experiment experiment;
    together([&] { experiment = trainer::prepare_experiment(config_); });
    agree_on(*process_, [&] { return experiment.agreement(); });

    std::optional<data::CacheWriteLock> lock;
    together([&] {
      if (arguments_.dry_run) return;
      checkpoints_tools::make_folder(folder_);
      if (grid.world_rank != 0) return;
      lock.emplace(folder_);
      if (!lock->warning().empty()) trainer::log_warn(lock->warning());
    });
    bool is_there = false;
    together([&] { is_there = fs::exists(folder_ / "cache.json"); });
    const auto form = trainer::cache_form(experiment, process_.get(), [&](const auto& piece) { together(piece); });
    together([&] {
      if (lock && is_there) data::ActivationCache::create(folder_, form);  // removes what killed builds have left
    });
    std::unique_ptr<data::ActivationCache> cache;
    together([&] {
      cache = is_there ? std::make_unique<data::ActivationCache>(folder_, form, data::ActivationCache::OnDamage::kPassOver)
                       : data::ActivationCache::none(form);
    });
    const auto plan = trainer::plan_cache(experiment, form, *cache, process_.get(), [&](const auto& piece) { together(piece); });
    for (const auto& shard : cache->passed_over()) trainer::log_warn("to be encoded anew: " + shard.problem);
    trainer::log_info(trainer::cache_plan_text(plan, folder_));
    if (arguments_.dry_run) return;
    trainer::leave_if_any_is_asked_to_stop(process_.get());
    together([&] { dist::require_agreement(*process_, {{"texts that are missing in " + folder_.string(), plan.fingerprint()}}); });
    together([&] {
      if (grid.world_rank == 0) cache->remove_passed_over();
    });
    together([&] { trainer::check_space(plan, folder_); });  // before any rank writes
    together([&] {
      if (grid.world_rank == 0 && !is_there) data::ActivationCache::create(folder_, form);
    });
    trainer::CacheBuildTimes times;
    const auto stop = process_->make_notice();
    together([&] { times = build(experiment, form, plan, grid, *stop); });
    report(times, grid.world_size);
    together([&] {
      if (grid.world_rank == 0) trainer::check_built(plan, data::ActivationCache(folder_, form));
    });
  }

  void together(const std::function<void()>& piece) const { launch::together(*process_, piece); }

  /// A rank that fails says so now: the others first finish their shares.
  trainer::CacheBuildTimes build(const trainer::Experiment& experiment, const data::CacheForm& form, const trainer::CachePlan& plan,
                                 const dist::ProcessGrid& grid, dist::Notice& stop) const {
    trainer::CacheBuildTimes times;
    std::exception_ptr problem;
    try {
      times = trainer::build_cache(experiment, form, plan, folder_, grid, stop);
    } catch (const trainer::StoppedError&) {
      problem = std::current_exception();
    } catch (const std::exception& error) {
      problem = std::current_exception();
      if (grid.world_size > 1) trainer::log_error(std::string(error.what()) + " (the other ranks finish their shards)");
    }
    process_->barrier([&] { trainer::tell_if_asked_to_stop(stop); });  // the others may have hours to go
    stop.close(*process_);
    if (problem) std::rethrow_exception(problem);
    return times;
  }

  void report(const trainer::CacheBuildTimes& times, int ranks) const {
    const double share = times.total_s > 0 ? 100 * (times.total_s - times.encoder_s) / times.total_s : 0;
    trainer::log_info(trainer::format(
        "cache: built in %s; this rank of %d: %lld texts, %lld tokens, %.3f GiB, %.2f s in the encoder, %.1f %% of its time beside it",
        trainer::format_duration(times.total_s).c_str(), ranks, static_cast<long long>(times.texts),
        static_cast<long long>(times.tokens), static_cast<double>(times.bytes) / (1 << 30), times.encoder_s, share));
  }

  const CacheArguments& arguments_;
  std::shared_ptr<dist::Process> process_;
  configs::RunConfig config_;
  fs::path folder_;
};

void print_form(const data::CacheForm& form) {
  std::string layers;
  for (int64_t layer : form.layers) layers += (layers.empty() ? "" : ", ") + std::to_string(layer);
  std::cout << "dtype               " << data::name_of(form.dtype) << "\n"
            << "layers              " << layers << "\n"
            << "width               " << form.width << "\n"
            << "bytes a token       " << form.token_bytes() << "\n"
            << "compute precision   " << form.compute_precision << "\n"
            << "encoder weights     " << form.encoder_weights << "\n"
            << "encoder config      " << form.encoder_config << "\n"
            << "tokenizer           " << form.tokenizer << "\n";
}

void info(const CacheArguments& arguments) {
  const auto form = data::ActivationCache::read_form(arguments.folder);
  const data::ActivationCache cache(arguments.folder, form, data::ActivationCache::OnDamage::kPassOver);
  int64_t tokens = 0, bytes = 0;
  for (const auto& shard : cache.shards()) {
    tokens += shard->tokens();
    bytes += shard->file_bytes();
  }
  print_form(form);
  std::cout << "shards              " << cache.shards().size() << "\n"
            << "texts               " << cache.texts() << "\n"
            << "tokens              " << tokens << "\n"
            << "bytes               " << bytes << trainer::format(" (%.3f GiB)", static_cast<double>(bytes) / (1 << 30)) << "\n";
  for (const auto& shard : cache.passed_over()) std::cout << "damaged             " << shard.problem << "\n";
}

/// `layalign-cache verify`: the ranks share the shards.
void verify(const CacheArguments& arguments, const dist::Process& process) {
  std::unique_ptr<data::ActivationCache> cache;
  together(process, [&] {
    cache = std::make_unique<data::ActivationCache>(arguments.folder, data::ActivationCache::read_form(arguments.folder),
                                                    data::ActivationCache::OnDamage::kPassOver);
  });
  std::string problems;
  for (const auto& shard : cache->passed_over()) {
    if (process.world_rank() == 0) problems += shard.problem + "\n";
  }
  together(process, [&] {
    for (size_t i = process.world_rank(); i < cache->shards().size(); i += process.world_size()) {
      for (const auto& problem : cache->shards()[i]->verify()) problems += problem + "\n";
    }
  });
  std::string all;
  for (const auto& text : process.all_gather(problems)) all += text;
  if (!all.empty()) {
    throw AgreedFailure(all + "Remove the shards that are named (the .h5 and the .json) and build again.", kBadInput);
  }
  if (process.world_rank() == 0) {
    std::cout << cache->shards().size() << " shards with " << cache->texts() << " texts: every byte is as it was written\n";
  }
}

int main(int argc, char** argv) {
  CacheArguments arguments;
  CLI::App app("Caches of the encoder's per-layer states: encode once, train many times.", "layalign-cache");
  app.set_version_flag("--version", LAYALIGN_VERSION);
  app.require_subcommand(1);
  auto* build = app.add_subcommand("build", "encodes the corpora of all stages of a config; goes on where it was interrupted");
  build->add_option("config", arguments.config, "config file (YAML or JSON); its cache section says where and how")->required();
  build->add_option("--set", arguments.overrides, "overrides a key of the config, such as cache.path=DIR (repeatable)")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  build->add_flag("--dry-run", arguments.dry_run, "says what would be encoded and how large it is, and writes nothing");
  auto* verify_command = app.add_subcommand("verify", "reads every byte of a cache and compares it with the hashes");
  auto* info_command = app.add_subcommand("info", "says what a cache holds and what made it");
  for (auto* command : {verify_command, info_command}) {
    command->add_option("folder", arguments.folder, "folder of the cache")->required();
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kDone : kUsage;
  }
  if (*build && !arguments.dry_run) catch_stop_signals();
  return run_program([&](std::shared_ptr<dist::Process> process) {
    if (*build) return BuildCommand(arguments, std::move(process)).run();
    if (*verify_command) return verify(arguments, *process);
    together(*process, [&] {
      if (process->world_rank() == 0) info(arguments);
    });
  });
}

}  // namespace
}  // namespace layalign::launch

int main(int argc, char** argv) { return layalign::launch::main(argc, argv); }
