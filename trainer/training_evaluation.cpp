// What a training run evaluates between its steps: held-out perplexity and benchmarks.

#include <cmath>
#include <nlohmann/json.hpp>

#include "checkpoints_tools/file_operations.h"
#include "checkpoints_tools/hash.h"
#include "configs/strict_json.h"
#include "trainer/benchmark_run.h"
#include "trainer/durable_file.h"
#include "trainer/error.h"
#include "trainer/format.h"
#include "trainer/log.h"
#include "trainer/trainables_file.h"
#include "trainer/training.h"

namespace layalign::trainer {
namespace {

/// The answers as far as an evaluation of these very weights got; those of others, or a file that cannot be read, give way.
std::unique_ptr<EvaluationOutputs> open_outputs(const std::filesystem::path& path, const nlohmann::json& identity) {
  try {
    return std::make_unique<EvaluationOutputs>(path, identity);
  } catch (const std::runtime_error&) {
    checkpoints_tools::remove_file(path);
    return std::make_unique<EvaluationOutputs>(path, identity);
  }
}

/// What the sums of a perplexity depend on, its rounding included.
std::string held_out_identity(const dist::ProcessGrid& grid, const model::Trainables& trainables, const PreparedStage& stage) {
  checkpoints_tools::Xxh3 hash;
  hash.update(nlohmann::json{{"trainables", trainables_hash(trainables.masters())},
                             {"corpus", stage.corpus_fingerprint},
                             {"samples", stage.split.dev},
                             {"micro_batch", stage.config.micro_batch},
                             {"grid", {grid.world_size, grid.tp_size}}}
                  .dump());
  return hash.hex();
}

/// The file in which a perplexity that was stopped waits for the next start, of all ranks.
class KeptPart {
 public:
  KeptPart(const dist::ProcessGrid& grid, std::filesystem::path path, std::string identity)
      : grid_(grid), path_(std::move(path)), identity_(std::move(identity)) {}

  /// That of this rank; nothing where there is none, or one of something else. Collectives: a broadcast on the control channel.
  PerplexityPart read() const {
    std::string text = grid_.world_rank == 0 ? text_on_first() : "";
    if (grid_.process) text = grid_.process->broadcast(text, 0);
    if (text.empty()) return {};
    const auto kept = nlohmann::json::parse(text);
    return {kept.at("rounds").get<int64_t>(), kept.at("sums").at(grid_.world_rank).get<std::vector<double>>()};
  }

  /// Nothing is kept any more.
  void drop() const {
    if (grid_.world_rank == 0 && std::filesystem::exists(path_)) checkpoints_tools::remove_file(path_);
  }

  /// Collectives: a gather on the control channel. Errors: IoError on the first rank.
  void write(const PerplexityPart& part) const {
    const auto mine = nlohmann::json(part.sums).dump();
    auto sums = nlohmann::json::array();
    for (const auto& text : grid_.process ? grid_.process->all_gather(mine) : std::vector{mine}) sums.push_back(nlohmann::json::parse(text));
    if (grid_.world_rank != 0) return;
    write_file_durably(path_, nlohmann::json{{"identity", identity_}, {"rounds", part.rounds}, {"sums", sums}}.dump() + "\n");
  }

 private:
  std::string text_on_first() const {
    try {
      const auto text = configs::read_text_file(path_);
      return configs::parse_json(text, path_.string()).at("identity") == identity_ ? text : "";
    } catch (const std::exception&) {  // not there, or damaged: it begins anew
      return "";
    }
  }

  const dist::ProcessGrid& grid_;
  std::filesystem::path path_;
  std::string identity_;
};

}  // namespace

Training::DueEvaluations Training::due_evaluations(const PreparedStage& stage) const {
  const auto is_due = [&](const std::optional<int64_t>& every) {
    return steps_done_ == stage.total_steps || (every && steps_done_ % *every == 0);
  };
  return {.perplexity = !stage.split.dev.empty() && is_due(stage.config.eval_every),
          .benchmarks = !experiment_.benchmarks.empty() && is_due(experiment_.config.eval.every)};
}

bool Training::leaves_evaluation() {
  writer_.check();  // a checkpoint that could not be written is told now, not after the evaluation
  const bool leaves = !agreed_reason_to_stop().empty();
  has_begun_ = true;
  return leaves;
}

bool Training::evaluate(const PreparedStage& stage, DueEvaluations due) {
  const auto& eval = experiment_.config.eval;
  if (due.benchmarks) save(/*evaluation_due=*/true);  // they may take long: whatever ends the run meanwhile loses no step
  grid_.enter(dist::Section::kEvaluation);
  std::optional<double> accuracy, perplexity;
  // First what takes longest and keeps all that is done of it.
  if (due.benchmarks && !(accuracy = score_benchmarks(stage))) return false;
  if (due.perplexity && !(perplexity = held_out_perplexity(stage))) return false;
  bool best = false;
  if (perplexity && *perplexity < best_perplexity_) {
    best_perplexity_ = *perplexity;
    best = eval.best == "perplexity";
  }
  if (accuracy && *accuracy > best_accuracy_) {
    best_accuracy_ = *accuracy;
    best = best || eval.best == "accuracy";
  }
  if (best && is_first()) save_trainables(folder_.best(stage_index_), trainables_->layout(), trainables_->masters());
  return true;
}

std::optional<double> Training::held_out_perplexity(const PreparedStage& stage) {
  const auto start = model::Clock::now();
  const KeptPart kept(grid_, folder_.held_out(stage_index_), held_out_identity(grid_, *trainables_, stage));
  auto part = kept.read();
  const auto found = evaluate_perplexity(grid_, step_->models(), *stage.dataset, stage.split.dev, stage.config.micro_batch,
                                         [&] { return leaves_evaluation(); }, &part);
  if (!found) {
    kept.write(part);
    return std::nullopt;
  }
  kept.drop();
  if (!std::isfinite(found->loss)) {
    throw DivergedError("step " + std::to_string(steps_done_) + " of stage " + stage.config.name + ": the held-out loss is " +
                        std::to_string(found->loss) + ". Lower lr, or use precision float32");
  }
  if (!is_first()) return found->perplexity;
  EvaluationMetrics metrics;
  metrics.stage = stage.config.name;
  metrics.stage_index = stage_index_;
  metrics.step = steps_done_;
  metrics.loss = found->loss;
  metrics.perplexity = found->perplexity;
  metrics.samples = static_cast<int64_t>(stage.split.dev.size());
  metrics.label_tokens = found->label_tokens;
  metrics.best = found->perplexity < best_perplexity_;
  metrics.evaluation_s = model::seconds_since(start);
  metrics.language_perplexity = found->by_language;
  evaluations_->append(metrics);
  log_info(format("step %lld  held-out perplexity %.4f%s", static_cast<long long>(steps_done_), found->perplexity,
                  metrics.best ? " (best so far)" : ""));
  return found->perplexity;
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
  std::unique_ptr<EvaluationOutputs> outputs;
  together_([&] {
    if (!is_first()) return;
    outputs = open_outputs(folder_.answers(stage_index_), output_identity(experiment_, models_, *trainables_, stage.config, options));
  });
  double sum = 0;
  bool stopped = false;
  for (const auto& benchmark : experiment_.benchmarks) {
    const auto start = model::Clock::now();
    const BenchmarkPlan plan{benchmark.task, benchmark.items, {AnswerMode::kLayAlign}, options};
    stopped = !run_benchmark(answering, grid_, experiment_, stage.config, plan, outputs.get(), [&] { return leaves_evaluation(); });
    if (stopped) break;
    const auto found = score_outputs(grid_, plan, outputs.get());
    sum += found.mean;
    if (!is_first()) continue;
    BenchmarkMetrics metrics;
    metrics.stage = stage.config.name;
    metrics.stage_index = stage_index_;
    metrics.step = steps_done_;
    metrics.task = data::name_of(benchmark.task);
    metrics.accuracy = found.mean;
    metrics.questions = found.questions;
    metrics.evaluation_s = model::seconds_since(start);
    metrics.language_accuracy = found.by_language;
    evaluations_->append(metrics);
    log_info(format("step %lld  %s accuracy %.1f %% of %lld questions", static_cast<long long>(steps_done_), metrics.task.c_str(),
                    100 * found.mean, static_cast<long long>(found.questions)));
  }
  if (models_.cache) models_.cache->set_use(use);
  if (stopped) return std::nullopt;
  return sum / static_cast<double>(experiment_.benchmarks.size());
}

}  // namespace layalign::trainer
