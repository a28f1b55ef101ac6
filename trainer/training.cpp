#include "trainer/training.h"

#include <ATen/core/grad_mode.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "configs/error.h"
#include "configs/reader.h"
#include "configs/scalars.h"
#include "dist/device.h"
#include "dist/error.h"
#include "trainer/durable_file.h"
#include "trainer/error.h"
#include "trainer/format.h"
#include "trainer/gpu_specs.h"
#include "trainer/log.h"
#include "trainer/replica_check.h"
#include "trainer/schedule.h"
#include "trainer/stop.h"
#include "trainer/summary.h"

namespace layalign::trainer {
namespace {

std::string accuracy_rule(const Experiment& experiment) {
  const auto& eval = experiment.config.eval;
  std::vector<std::string> questions;
  for (const auto& benchmark : experiment.benchmarks) questions.push_back(questions_hash(benchmark.items));
  return nlohmann::json{{"tasks", eval.tasks},
                        {"questions", questions},
                        {"languages", eval.languages},
                        {"limit", eval.limit.value_or(0)},
                        {"max_new_tokens", eval.max_new_tokens}}
      .dump();
}

}  // namespace

Training::Training(const dist::ProcessGrid& grid, const Experiment& experiment, int64_t threads, bool profile,
                   Together together)
    : grid_(grid),
      experiment_(experiment),
      threads_(threads),
      profile_(profile ? std::optional<Profile>(std::in_place) : std::nullopt),
      together_(std::move(together)),
      folder_(experiment.config.output, experiment.config.stages),
      writer_(grid) {}

void Training::load() {
  const auto& config = experiment_.config;
  models_ = load_frozen_models(experiment_, grid_, together_);
  trainables_.emplace(experiment_.sizes, grid_.device, TrainStep::riders(grid_));
  layalign_.emplace(*models_.llm, *trainables_, experiment_.language_layers, experiment_.input_form, recompute_mode(config.parallel));
  step_.emplace(grid_, config.optimizer,
                Models{*models_.encoder, *models_.llm, *layalign_, *trainables_, experiment_.encoder_layers});
  initialise_trainables(*trainables_, experiment_, grid_, together_);
  note_inputs();
}

void Training::restore() {
  together_([&] {
    if (!is_first()) return;
    metrics_.emplace(folder_.metrics());
    evaluations_.emplace(folder_.evaluations());
  });
  const auto state = std::exchange(found_, std::nullopt);
  if (state) {
    stage_index_ = state->stage_index;
    steps_done_ = state->step;
    best_perplexity_ = state->best_perplexity;
    // Accuracies of other tasks or questions cannot be compared with those to come.
    if (state->accuracy_rule == accuracy_rule(experiment_)) best_accuracy_ = state->best_accuracy;
    elapsed_before_s_ = state->elapsed_s;
    evaluation_due_ = state->evaluation_due;
    skipped_steps_ = state->skipped_steps;
  }
  share_position();
  choose_cache(state ? state->cache_choice : "");
  if (is_first()) {
    metrics_->truncate_after(stage_index_, steps_done_);
    warn_of_missing_lines();
    evaluations_->truncate_after(stage_index_, steps_done_ - (evaluation_due_ ? 1 : 0));
  }
  if (steps_done_ == 0) return;
  const auto& optimizer = step_->optimizer();
  share(trainables_->masters(), state ? state->masters : at::Tensor());
  share(optimizer.exp_avg(), state ? state->exp_avg : at::Tensor());
  share(optimizer.exp_avg_sq(), state ? state->exp_avg_sq : at::Tensor());
}

void Training::warn_of_missing_lines() const {
  int64_t expected = steps_done_;
  for (int64_t i = 0; i < stage_index_; ++i) expected += experiment_.stages[i].total_steps;
  const int64_t found = metrics_->lines();
  if (found == expected) return;
  log_warn(folder_.metrics().string() + ": has " + std::to_string(found) + " lines, but " + std::to_string(expected) +
           " steps were done; the run goes on, its record of the steps has a gap");
}

void Training::choose_cache(const std::string& stored) {
  if (!models_.cache || experiment_.config.cache.mode != "auto") return;
  cache_choice_.emplace(*models_.cache, grid_.process.get(), grid_.process ? grid_.process->broadcast(stored, 0) : stored);
}

void Training::share_position() {
  if (!grid_.process) return;
  const auto mine = nlohmann::json{stage_index_, steps_done_, std::isfinite(best_perplexity_) ? best_perplexity_ : -1.0,
                                   elapsed_before_s_, best_accuracy_, evaluation_due_, skipped_steps_};
  const auto shared = nlohmann::json::parse(grid_.process->broadcast(mine.dump(), 0));
  stage_index_ = shared[0].get<int64_t>();
  steps_done_ = shared[1].get<int64_t>();
  best_perplexity_ = shared[2].get<double>() < 0 ? std::numeric_limits<double>::infinity() : shared[2].get<double>();
  elapsed_before_s_ = shared[3].get<double>();
  best_accuracy_ = shared[4].get<double>();
  evaluation_due_ = shared[5].get<bool>();
  skipped_steps_ = shared[6].get<int64_t>();
}

void Training::share(const at::Tensor& target, const at::Tensor& value) const {
  at::NoGradGuard no_grad;
  if (is_first()) target.copy_(value);
  grid_.world.broadcast(target, 0);
}

void Training::run() {
  check_frozen();
  start_ = last_save_ = model::Clock::now();
  // The clock counts from the first step, or piece of an evaluation, on: a limit shorter than the loading would never get anywhere.
  if (const auto reason = agreed_reason(asked_to_stop(), grid_.process.get()); !reason.empty()) {
    throw StoppedError("stopped (" + reason + ") while the models were loaded; " + folder_.output().string() +
                       " is as it was, the same command goes on from there");
  }
  for (; stage_index_ < static_cast<int64_t>(experiment_.stages.size()); ++stage_index_) {
    run_stage(experiment_.stages[stage_index_]);
    steps_done_ = 0;
  }
  if (is_first()) finish_run(folder_, summarize_run(folder_));
}

void Training::run_stage(const PreparedStage& stage) {
  const auto& config = experiment_.config;
  if (steps_done_ == 0) {
    step_->optimizer().reset();
    best_perplexity_ = std::numeric_limits<double>::infinity();
    best_accuracy_ = -1;
    skipped_steps_ = 0;
  }
  executed_counted_ = false;
  std::optional<Progress> progress;
  if (is_first()) {
    begin_events();
    progress.emplace(stage.config.name, stage_index_, static_cast<int64_t>(experiment_.stages.size()), stage.total_steps,
                     config.log.every, stdout_is_terminal());
  }
  if (std::exchange(evaluation_due_, false) && !evaluate(stage, due_evaluations(stage))) stop(stage, /*evaluation_due=*/true);
  while (steps_done_ < stage.total_steps) {
    grid_.enter(dist::Section::kStep, steps_done_ + 1);
    writer_.check();
    const auto metrics = train_step(stage);
    ++steps_done_;
    const bool last = steps_done_ == stage.total_steps;
    if (is_first()) {
      metrics_->append(metrics);
      if (events_) events_->append(metrics);
      if (profile_) profile_->add(metrics);
      progress->step(metrics);
    }
    if (cache_choice_) cache_choice_->after_step();
    const auto due = due_evaluations(stage);
    if (asked_.stop) stop(stage, due.any());
    if (due.any() && !evaluate(stage, due)) stop(stage, /*evaluation_due=*/true);
    if (last || asked_.save || steps_done_ % config.checkpoint.every == 0) {
      save();  // checks them too
    } else if (steps_done_ % config.parallel.check_replicas_every == 0) {
      check_trainables();
      check_frozen();
    }
  }
  grid_.enter(dist::Section::kSave, steps_done_);
  writer_.wait();
  if (is_first()) {
    progress->finish();
    if (profile_) {
      for (const auto& line : profile_->take_lines()) log_info(line);
    }
    save_trainables(folder_.trainables(stage_index_), trainables_->layout(), trainables_->masters());
  }
  report_cache();
}

void Training::begin_events() {
  if (!experiment_.config.log.tensorboard) return;
  as_io_error([&] {
    for (size_t later = stage_index_ + 1; later < folder_.stages().size(); ++later) {
      checkpoints_tools::remove_folder(folder_.events(static_cast<int64_t>(later)));
    }
  });
  events_.emplace(folder_.events(stage_index_), steps_done_, experiment_.language_layers, configs::to_yaml(experiment_.config));
}

void Training::report_cache() const {
  if (!models_.cache) return;
  const auto& traffic = models_.cache->traffic();
  if (traffic.damaged_texts > 0) {
    log_warn("cache: " + std::to_string(traffic.damaged_texts) + " texts could not be read and were computed again, the first one because " +
             traffic.first_damage + "; layalign-cache verify names the shards");
  }
  log_info(format("cache: %lld texts read (%.1f MiB, waited %.1f s), %lld computed (%.1f s), %lld added",
                  static_cast<long long>(traffic.read_texts), static_cast<double>(traffic.read_bytes) / (1 << 20), traffic.read_s,
                  static_cast<long long>(traffic.computed_texts), traffic.compute_s, static_cast<long long>(traffic.added_texts)));
}

bool Training::is_told(const PreparedStage& stage) const {
  const int64_t step = steps_done_ + 1;
  return step == 1 || step == stage.total_steps || step % experiment_.config.log.every == 0;
}

StepMetrics Training::train_step(const PreparedStage& stage) {
  const auto& config = experiment_.config;
  const bool told = is_told(stage);
  // Observing is not free, and the first step shows what the steps of a stage execute.
  const bool observed = profile_ || !std::exchange(executed_counted_, true);
  step_->count_executed(observed);
  if (told || observed) step_->phases().begin();
  const auto start = model::Clock::now();
  has_begun_ = true;
  const auto samples = next_samples_.empty() ? announced_samples(stage, steps_done_) : std::move(next_samples_);
  next_samples_.clear();
  if (steps_done_ + 1 < stage.total_steps) next_samples_ = announced_samples(stage, steps_done_ + 1);
  StepMetrics metrics;
  metrics.lr = learning_rate(config.schedule, stage.config.lr, steps_done_, stage.total_steps);
  const auto result = try_step(stage, samples, metrics.lr);
  asked_ = result.requests;
  metrics.stage = stage.config.name;
  metrics.stage_index = stage_index_;
  metrics.step = steps_done_ + 1;
  metrics.epoch = static_cast<double>(metrics.step) / static_cast<double>(stage.steps_per_epoch);
  metrics.loss = result.loss;
  metrics.grad_norm = result.grad_norm;
  metrics.samples = static_cast<int64_t>(samples.size());
  metrics.label_tokens = result.label_tokens;
  metrics.phase_s = step_->phases().finish();
  metrics.step_s = model::seconds_since(start);
  metrics.tokens_per_s = static_cast<double>(result.llm_tokens) / metrics.step_s;
  metrics.samples_per_s = static_cast<double>(samples.size()) / metrics.step_s;
  metrics.peak_memory_bytes = result.peak_memory_bytes;
  metrics.llm_tokens = result.llm_tokens;
  const auto llm_flops = static_cast<double>(result.llm_tokens * model::mfu_flops_per_token(experiment_.llm));
  metrics.mfu = flops_utilization(dist::processor_name(grid_.device), config.parallel.precision, llm_flops, metrics.step_s,
                                  grid_.world_size);
  if ((told || observed) && result.llm_tokens > 0)
    metrics.counters = result.counters;  // a step that was skipped has none
  if (told && is_first()) metrics.gates = gates();
  return metrics;
}

std::vector<float> Training::gates() const {
  for (const auto& [name, tensor] : split_flat(trainables_->layout(), trainables_->masters())) {
    if (name != "gates" && name != "gates.bias") continue;
    const auto host = tensor.to(at::kCPU, at::kFloat).contiguous();
    return {host.const_data_ptr<float>(), host.const_data_ptr<float>() + host.numel()};
  }
  return {};
}

StepResult Training::try_step(const PreparedStage& stage, const std::vector<data::Sample>& samples, double lr) {
  try {
    return step_->run(samples, stage.config.micro_batch, lr, steps_done_ + 1 - skipped_steps_, requests());
  } catch (const DivergedError& error) {  // every rank throws it alike
    const std::string place = "stage " + stage.config.name + ", step " + std::to_string(steps_done_ + 1) + ": ";
    const int64_t allowed = experiment_.config.optimizer.skip_nonfinite;
    if (skipped_steps_ >= allowed) throw DivergedError(place + error.what());
    ++skipped_steps_;
    log_warn(place + "skipped (" + std::to_string(skipped_steps_) + " of at most " + std::to_string(allowed) +
             ", optimizer.skip_nonfinite): " + error.what());
    constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
    return {.loss = kNone, .grad_norm = kNone};
  }
}

std::vector<data::Sample> Training::announced_samples(const PreparedStage& stage, int64_t step) {
  std::vector<data::Sample> samples;
  for (int64_t index : stage.batch(step, shuffle_seed(experiment_.config.seed, stage_index_))) {
    samples.push_back(stage.dataset->get(index));
  }
  step_->expect(samples, stage.config.micro_batch);
  return samples;
}

std::string Training::reason_to_stop() const {
  const auto& limit = experiment_.config.stop_after;
  if (limit && has_begun_ && is_first() && process_age_s() >= static_cast<double>(limit->seconds)) {
    return "stop_after: " + configs::format_duration(limit->seconds);
  }
  return asked_to_stop();
}

std::string Training::agreed_reason_to_stop() const { return agreed_reason(reason_to_stop(), grid_.process.get()); }

StepRequests Training::requests() const {
  const auto& minutes = experiment_.config.checkpoint.every_minutes;
  return {.stop = !reason_to_stop().empty(),
          .save = minutes && is_first() && model::seconds_since(last_save_) >= 60 * *minutes};
}

void Training::stop(const PreparedStage& stage, bool evaluation_due) {
  if (!saved_ || *saved_ != std::tuple(stage_index_, steps_done_, evaluation_due)) save(evaluation_due);
  writer_.wait();
  throw StoppedError("stopped (" + agreed_reason_to_stop() + ") after step " + std::to_string(steps_done_) + " of " +
                     std::to_string(stage.total_steps) + " of stage " + stage.config.name + "; everything is saved in " +
                     folder_.output().string() + ", the same command goes on from there");
}

void Training::save(bool evaluation_due) {
  grid_.enter(dist::Section::kSave, steps_done_);
  last_save_ = model::Clock::now();
  saved_ = {stage_index_, steps_done_, evaluation_due};
  check_trainables();
  check_frozen();
  save_state(evaluation_due);
  commit_cache();  // behind the checkpoint, which matters more
}

void Training::commit_cache() {
  if (!models_.cache || adding_has_ended_) return;
  models_.cache->commit();
  adding_has_ended_ = !models_.cache->adding_ended_by().empty();
  if (adding_has_ended_) log_warn("cache: no more states are added, the run goes on: " + models_.cache->adding_ended_by());
}

void Training::save_state(bool evaluation_due) {
  if (is_first()) {
    metrics_->sync();
    evaluations_->sync();
  }
  TrainingState state;
  state.stage_index = stage_index_;
  state.step = steps_done_;
  state.best_perplexity = best_perplexity_;
  state.best_accuracy = best_accuracy_;
  state.accuracy_rule = accuracy_rule(experiment_);
  if (cache_choice_) state.cache_choice = cache_choice_->choice();
  state.evaluation_due = evaluation_due;
  state.skipped_steps = skipped_steps_;
  state.masters = trainables_->masters();
  state.exp_avg = step_->optimizer().exp_avg();
  state.exp_avg_sq = step_->optimizer().exp_avg_sq();
  state.layout = trainables_->layout();
  state.encoder_fingerprint = models_.encoder->fingerprint();
  state.encoder_weights = encoder_weights();
  state.llm_fingerprint = models_.llm->fingerprint();
  state.encoder_tokenizer_fingerprint = experiment_.encoder_tokenizer_fingerprint;
  state.llm_tokenizer_fingerprint = experiment_.llm_tokenizer_fingerprint;
  state.model_configs = model_configs_;
  state.corpus_fingerprints = corpus_fingerprints();
  state.split_fingerprints = split_fingerprints();
  state.initial_weights = initial_weights_;
  state.elapsed_s = elapsed_before_s_ + model::seconds_since(start_);
  state.world_size = grid_.world_size;
  state.tp_size = grid_.tp_size;
  state.threads = threads_;
  state.processors = processors_;
  const auto& checkpoint = experiment_.config.checkpoint;
  writer_.start(folder_.stages()[stage_index_], std::move(state), {checkpoint.keep, checkpoint.keep_every});
}

void Training::check_trainables() const {
  if (!trainables_->masters().isfinite().all().item<bool>()) {  // the same on every rank
    throw DivergedError("the update of step " + std::to_string(steps_done_) +
                        " made trained weights infinite or NaN; they were not saved. Lower lr");
  }
  if (grid_.world_size == 1) return;
  require_equal_replicas(trainables_->masters(), *grid_.process, steps_done_);
}

void Training::check_frozen() {
  auto weights = models_.llm->weights();
  for (const at::Tensor& tensor : models_.encoder->weights()) weights.push_back(tensor);
  const int64_t changed = frozen_check_.changed(weights);
  if (changed == 0) return;
  throw dist::CommError("step " + std::to_string(steps_done_) + ": " + std::to_string(changed) +
                        " frozen weights of rank " + std::to_string(grid_.world_rank) + (grid_.process ? " (" + grid_.process->host() + ")" : "") +
                        " are no longer what was loaded: look for faulty memory or a faulty GPU there, then start again to resume from the last checkpoint");
}

}  // namespace layalign::trainer
