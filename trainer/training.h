#pragma once

#include <limits>
#include <optional>
#include <string>
#include <tuple>

#include "dist/process_grid.h"
#include "model/clock.h"
#include "model/layalign.h"
#include "model/trainables.h"
#include "trainer/cache_choice.h"
#include "trainer/checkpoint_writer.h"
#include "trainer/evaluate.h"
#include "trainer/experiment.h"
#include "trainer/frozen_check.h"
#include "trainer/frozen_models.h"
#include "trainer/metrics.h"
#include "trainer/profile.h"
#include "trainer/progress.h"
#include "trainer/run_folder.h"
#include "trainer/train_step.h"
#include "trainer/training_state.h"

namespace layalign::trainer {

/// One run: all stages of a config in order, on one process grid.
class Training {
 public:
  /// Keeps references. `threads`: of this rank, stored with the checkpoints. `profile`: every step is counted and
  /// timed, and each stage ends with what that says in the log.
  Training(const dist::ProcessGrid& grid, const Experiment& experiment, int64_t threads, bool profile,
           Together together);

  /// Reads the frozen models, agrees on them, and sets the trainables from model.init or the seed. Writes nothing.
  /// Errors: those of the models and of `Together`.
  void load();

  /// Looks for the newest checkpoint of the run that is whole; where it has none, takes `begin_at`, a checkpoint of
  /// another run; where that is empty the one at which the run began before (RunFolder::origin), or the start. Writes
  /// nothing. Errors: ConfigError for one that was made with other weights, tokenizers or corpora, CheckpointError for
  /// one of another run that is damaged or gone.
  void find_checkpoint(const std::filesystem::path& begin_at);
  /// What find_checkpoint found of it: the checkpoint of another run at which this one began; empty: at the start. On
  /// the first rank.
  const std::filesystem::path& origin() const { return origin_; }

  /// Opens the metrics of the run folder, which has begun, and takes up the checkpoint that was found.
  void restore();

  /// Trains every stage that is not done, saves the trainables at the end of each.
  /// Errors: DivergedError on all ranks; StoppedError on all ranks once a rank was asked to stop (trainer/stop.h) or the time
  /// is up, with all that was done saved; IoError on the rank that writes.
  void run();

 private:
  void initialise();
  std::optional<TrainingState> find_state(const std::filesystem::path& begin_at);
  /// The state at which a run begins that has none of its own.
  std::optional<TrainingState> state_of_origin() const;
  /// Errors: ConfigError naming what the checkpoint was made with that is not what is here. `is_own`: of this run.
  void require_same_inputs(const TrainingState& state, bool is_own) const;
  /// Which stage's `known` value is not the one here: "stage NAME".
  std::string stage_that_differs(const std::vector<std::string>& known, const std::vector<std::string>& here) const;
  void warn_of_rounding(const TrainingState& state) const;
  /// What checkpoints store of the inputs. Collectives: on the control channel.
  void note_inputs();
  std::vector<std::string> corpus_fingerprints() const;
  std::vector<std::string> split_fingerprints() const;
  /// The kinds of processor of all ranks. Collectives: on the control channel.
  std::string processors_of_all() const;
  /// What the cache knows the encoder's weights by; empty without one.
  std::string encoder_weights() const;
  bool is_of_this_encoder(const TrainingState& state) const;
  void share_position();
  void warn_of_missing_lines() const;
  void share(const at::Tensor& target, const at::Tensor& value) const;
  void run_stage(const PreparedStage& stage);
  /// Whether the metrics of the step that comes have gates, counters and phases.
  bool is_told(const PreparedStage& stage) const;
  StepMetrics train_step(const PreparedStage& stage);
  /// Those of the trainables, of dynamic ones the biases; none where the run trains none.
  std::vector<float> gates() const;
  /// One optimiser step, or none where loss or gradient is not finite and optimizer.skip_nonfinite lets that pass: the result then
  /// has neither. Errors: DivergedError, which names the stage.
  StepResult try_step(const PreparedStage& stage, const std::vector<data::Sample>& samples, double lr);
  /// Cache.mode auto: takes up what an earlier part of the run has chosen.
  void choose_cache(const std::string& stored);
  /// The samples of a step of the stage, and the announcement of their sources.
  std::vector<data::Sample> announced_samples(const PreparedStage& stage, int64_t step);
  /// What is to be evaluated after the step that was done last.
  struct DueEvaluations {
    bool perplexity = false, benchmarks = false;
    bool any() const { return perplexity || benchmarks; }
  };
  DueEvaluations due_evaluations(const PreparedStage& stage) const;
  /// Does it, and keeps the trainables where they are the best by eval.best. False where a stop was asked for meanwhile: it is
  /// then as if it had not begun, but for lines in evaluations.jsonl.
  bool evaluate(const PreparedStage& stage, DueEvaluations due);
  /// Writes a line. Nothing where a stop was asked for: what is done stays for the next start.
  std::optional<double> held_out_perplexity(const PreparedStage& stage);
  /// Scores eval.tasks, writes a line for each; the mean of their accuracies. Nothing where a stop was asked for: the answers stay.
  std::optional<double> score_benchmarks(const PreparedStage& stage);
  /// Whether a rank was asked to stop; asked before each piece of an evaluation.
  bool leaves_evaluation();
  /// Why this rank wants to stop; empty: it does not.
  std::string reason_to_stop() const;
  /// That of the first rank that has one; empty on all: none has. Collectives: one gather on the control channel.
  std::string agreed_reason_to_stop() const;
  /// What this rank asks of all.
  StepRequests requests() const;
  /// Saves, with what is not evaluated yet. Errors: StoppedError.
  [[noreturn]] void stop(const PreparedStage& stage, bool evaluation_due);
  void save(bool evaluation_due = false);
  void save_state(bool evaluation_due);
  /// Errors: DivergedError for weights that are not finite; CommError where a rank's weights differ.
  void check_trainables() const;
  /// Errors: CommError where a frozen weight of this rank is no longer what was loaded.
  void check_frozen();
  /// Writes what was added to the cache; warns where that has come to an end.
  void commit_cache();
  /// Says what was read from the cache, computed and added.
  void report_cache() const;
  bool is_first() const { return grid_.world_rank == 0; }

  const dist::ProcessGrid& grid_;
  const Experiment& experiment_;
  int64_t threads_;
  std::optional<Profile> profile_;
  Together together_;
  RunFolder folder_;
  FrozenModels models_;
  FrozenCheck frozen_check_;
  std::optional<model::Trainables> trainables_;
  std::optional<model::LayAlign> layalign_;
  std::optional<TrainStep> step_;
  std::string processors_;                  // of all ranks
  std::string initial_weights_;             // on the first rank: a hash of those of model.init, or "seed"
  std::vector<std::string> model_configs_;  // on the first rank: hashes of the encoder's and the LLM's config.json
  std::filesystem::path origin_;            // on the first rank
  std::optional<TrainingState> found_;  // on the first rank, until it is taken up
  std::optional<MetricsFile> metrics_, evaluations_;  // on the first rank
  std::optional<CacheChoice> cache_choice_;           // in cache.mode auto
  std::vector<data::Sample> next_samples_;            // of the next step, where they are read already

  int64_t stage_index_ = 0;
  int64_t steps_done_ = 0;  // in that stage
  int64_t skipped_steps_ = 0;  // of these, without an update
  double best_perplexity_ = std::numeric_limits<double>::infinity();  // of that stage
  double best_accuracy_ = -1;                                         // of that stage, -1 before a benchmark was scored
  double elapsed_before_s_ = 0;  // in the runs that this one resumes
  bool executed_counted_ = false;  // of a step of that stage in this process
  bool has_begun_ = false;       // this process, with a step or a piece of an evaluation: until then no clock stops it
  bool evaluation_due_ = false;  // a run that was stopped has left it to this one
  bool adding_has_ended_ = false;  // the cache took no more states, and that was said
  StepRequests asked_;           // of any rank, in the last step
  model::Clock::time_point start_, last_save_;
  CheckpointWriter writer_;
  std::optional<std::tuple<int64_t, int64_t, bool>> saved_;  // stage, step and what was due of the last checkpoint
};

}  // namespace layalign::trainer
