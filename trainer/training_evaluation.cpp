// What a training run evaluates between its steps: held-out perplexity and benchmarks.

#include <cmath>

#include "trainer/answering.h"
#include "trainer/error.h"
#include "trainer/format.h"
#include "trainer/log.h"
#include "trainer/trainables_file.h"
#include "trainer/training.h"

namespace layalign::trainer {

Training::DueEvaluations Training::due_evaluations(const PreparedStage& stage) const {
  const auto is_due = [&](const std::optional<int64_t>& every) {
    return steps_done_ == stage.total_steps || (every && steps_done_ % *every == 0);
  };
  return {.perplexity = !stage.split.dev.empty() && is_due(stage.config.eval_every),
          .benchmarks = !experiment_.benchmarks.empty() && is_due(experiment_.config.eval.every)};
}

bool Training::evaluate(const PreparedStage& stage, DueEvaluations due) {
  const auto& eval = experiment_.config.eval;
  if (due.benchmarks) save(/*evaluation_due=*/true);  // they may take long: whatever ends the run meanwhile loses no step
  grid_.enter(dist::Section::kEvaluation);
  const double best_perplexity_before = best_perplexity_;
  bool best = false;
  if (due.perplexity) {
    const double perplexity = held_out_perplexity(stage);
    if (perplexity < best_perplexity_) {
      best_perplexity_ = perplexity;
      best = best || eval.best == "perplexity";
    }
  }
  if (due.benchmarks) {
    const auto accuracy = score_benchmarks(stage);
    if (!accuracy) {
      best_perplexity_ = best_perplexity_before;
      return false;
    }
    if (*accuracy > best_accuracy_) {
      best_accuracy_ = *accuracy;
      best = best || eval.best == "accuracy";
    }
  }
  if (best && is_first()) save_trainables(folder_.best(stage_index_), trainables_->layout(), trainables_->masters());
  return true;
}

double Training::held_out_perplexity(const PreparedStage& stage) {
  const auto start = model::Clock::now();
  const auto found = evaluate_perplexity(grid_, step_->models(), *stage.dataset, stage.split.dev, stage.config.micro_batch);
  if (!std::isfinite(found.loss)) {
    throw DivergedError("step " + std::to_string(steps_done_) + " of stage " + stage.config.name + ": the held-out loss is " +
                        std::to_string(found.loss) + ". Lower lr, or use precision float32");
  }
  if (!is_first()) return found.perplexity;
  EvaluationMetrics metrics;
  metrics.stage = stage.config.name;
  metrics.stage_index = stage_index_;
  metrics.step = steps_done_;
  metrics.loss = found.loss;
  metrics.perplexity = found.perplexity;
  metrics.samples = static_cast<int64_t>(stage.split.dev.size());
  metrics.label_tokens = found.label_tokens;
  metrics.best = found.perplexity < best_perplexity_;
  metrics.evaluation_s = model::seconds_since(start);
  metrics.language_perplexity = found.by_language;
  evaluations_->append(metrics);
  if (events_) events_->append(metrics);
  log_info(format("step %lld  held-out perplexity %.4f%s", static_cast<long long>(steps_done_), found.perplexity,
                  metrics.best ? " (best so far)" : ""));
  return found.perplexity;
}

std::optional<double> Training::score_benchmarks(const PreparedStage& stage) {
  const auto& eval = experiment_.config.eval;
  // The questions are no part of the corpora: in cache.mode read, those that are not cached are computed.
  const auto use = models_.cache ? models_.cache->use() : model::CacheUse();
  if (models_.cache) {
    auto computing = use;
    computing.compute = true;
    models_.cache->set_use(computing);
  }
  const Answering answering(grid_, experiment_, models_, *trainables_);
  model::GenerationOptions options;
  options.max_new_tokens = eval.max_new_tokens;
  options.batch = eval.batch;
  const auto leave = [&] {
    writer_.check();  // a checkpoint that could not be written is told now, not after the benchmark
    return !agreed_reason_to_stop().empty();
  };
  double sum = 0;
  bool stopped = false;
  for (const auto& benchmark : experiment_.benchmarks) {
    const auto start = model::Clock::now();
    const auto found = score_benchmark(answering, grid_, benchmark.task, benchmark.items, experiment_, stage.config, options, leave);
    stopped = !found;
    if (stopped) break;
    sum += found->mean;
    if (!is_first()) continue;
    BenchmarkMetrics metrics;
    metrics.stage = stage.config.name;
    metrics.stage_index = stage_index_;
    metrics.step = steps_done_;
    metrics.task = data::name_of(benchmark.task);
    metrics.accuracy = found->mean;
    metrics.questions = found->questions;
    metrics.evaluation_s = model::seconds_since(start);
    metrics.language_accuracy = found->by_language;
    evaluations_->append(metrics);
    if (events_) events_->append(metrics);
    log_info(format("step %lld  %s accuracy %.1f %% of %lld questions", static_cast<long long>(steps_done_), metrics.task.c_str(),
                    100 * found->mean, static_cast<long long>(found->questions)));
  }
  if (models_.cache) models_.cache->set_use(use);
  if (stopped) return std::nullopt;
  return sum / static_cast<double>(experiment_.benchmarks.size());
}

}  // namespace layalign::trainer
