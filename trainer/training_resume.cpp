// Where a training run goes on: at its newest checkpoint, at one of another run, or at the start.

#include <algorithm>
#include <limits>

#include "checkpoints_tools/error.h"
#include "configs/error.h"
#include "dist/device.h"
#include "trainer/log.h"
#include "trainer/trainables_file.h"
#include "trainer/training.h"
#include "trainer/weights_hash.h"

namespace layalign::trainer {
namespace {

namespace fs = std::filesystem;
using checkpoints_tools::CheckpointError;

}  // namespace

void Training::find_checkpoint(const fs::path& begin_at) {
  together_([&] {
    if (is_first()) found_ = find_state(begin_at);
  });
}

std::optional<TrainingState> Training::find_state(const fs::path& begin_at) {
  std::vector<std::string> warnings;
  auto state = newest_training_state(folder_.stages(), &warnings);
  for (const auto& warning : warnings) log_warn(warning);
  const bool is_own = state.has_value();
  origin_ = origin_of(folder_);
  if (!is_own) {
    if (!begin_at.empty()) origin_ = begin_at;
    if (fs::exists(folder_.config())) {
      log_warn(
          folder_.output().string() +
          ": the run ended before its first checkpoint and begins anew; what it has written to " +
          "metrics.jsonl and evaluations.jsonl is removed. Where that may happen again, set checkpoint.every_minutes");
    }
    state = state_of_origin();
  }
  if (!state) return state;
  require_same_inputs(*state, is_own);
  const auto& stage = experiment_.stages[state->stage_index];
  if (state->step > stage.total_steps) {
    throw configs::ConfigError(origin_.string() + ": was made after step " + std::to_string(state->step) +
                               " of stage " + stage.config.name + ", which has only " +
                               std::to_string(stage.total_steps) +
                               " steps here; raise its epochs or max_steps, or choose an earlier checkpoint");
  }
  log_info("resuming after step " + std::to_string(state->step) + " of stage " + stage.config.name);
  warn_of_rounding(*state);
  return state;
}

std::optional<TrainingState> Training::state_of_origin() const {
  if (origin_.empty()) return std::nullopt;
  if (!fs::exists(origin_)) {
    throw CheckpointError(origin_.string() +
                          ": this run began at that checkpoint, which is no longer there, and has none of its own "
                          "yet; bring it back, name another one (--resume CHECKPOINT), or choose another output");
  }
  auto state = load_training_state(origin_);
  // The best weights so far lie in the other run.
  state.best_perplexity = std::numeric_limits<double>::infinity();
  state.best_accuracy = -1;
  log_info("this run begins at " + origin_.string());
  return state;
}

void Training::require_same_inputs(const TrainingState& state, bool is_own) const {
  const auto refuse = [&](const std::string& what) {
    if (is_own)
      throw configs::ConfigError(folder_.output().string() + ": " + what +
                                 " since this run began; bring it back, or choose another output");
    throw configs::ConfigError(origin_.string() + ": " + what +
                               " since that checkpoint was made; a run goes on only from one of its own "
                               "models and corpora (model.init takes the trained weights alone)");
  };
  const auto& encoder = experiment_.encoder_folder.string();
  const auto& llm = experiment_.llm_folder.string();
  if (state.layout != trainables_->layout()) refuse("the names or shapes of the trained weights have changed");
  if (!is_of_this_encoder(state)) refuse("the encoder has changed (now the weights of " + encoder + ")");
  if (state.llm_fingerprint != models_.llm->fingerprint())
    refuse("the LLM has changed (now the weights of " + llm + ")");
  if (!state.model_configs.empty() && state.model_configs != model_configs_) {
    refuse("the config.json of " + (state.model_configs.front() == model_configs_.front() ? llm : encoder) +
           " has changed");
  }
  if (state.encoder_tokenizer_fingerprint != experiment_.encoder_tokenizer_fingerprint) {
    refuse("the tokenizer files have changed (now those of " + encoder + ")");
  }
  if (state.llm_tokenizer_fingerprint != experiment_.llm_tokenizer_fingerprint) {
    refuse("the tokenizer files have changed (now those of " + llm + ")");
  }
  if (state.corpus_fingerprints != corpus_fingerprints()) {
    refuse("the corpus has changed (" + stage_that_differs(state.corpus_fingerprints, corpus_fingerprints()) + ")");
  }
  if (!state.split_fingerprints.empty() && state.split_fingerprints != split_fingerprints()) {
    const std::string stage = stage_that_differs(state.split_fingerprints, split_fingerprints());
    if (is_own) refuse("the dev split has changed (" + stage + ")");
    log_warn(origin_.string() + ": its run held out other samples (" + stage +
             "), so it may have been trained on what is held out here");
  }
  if (is_own && !state.initial_weights.empty() && state.initial_weights != initial_weights_) {
    refuse("the weights to start from have changed (model.init: " + experiment_.config.model.init.value_or("null") +
           ")");
  }
}

std::string Training::stage_that_differs(const std::vector<std::string>& known,
                                         const std::vector<std::string>& here) const {
  if (known.size() != here.size())
    return std::to_string(known.size()) + " stages there, " + std::to_string(here.size()) + " here";
  const auto place = std::mismatch(known.begin(), known.end(), here.begin()).first;
  return "stage " + experiment_.stages[place - known.begin()].config.name;
}

void Training::warn_of_rounding(const TrainingState& state) const {
  if (state.world_size != grid_.world_size || state.tp_size != grid_.tp_size || state.threads != threads_) {
    log_warn(
        "the checkpoint was made with another grid or number of threads: results agree up to rounding, not bit by bit");
  }
  if (!state.processors.empty() && state.processors != processors_) {
    log_warn("the checkpoint was made on other processors (" + state.processors + ", now " + processors_ +
             "): results agree up to rounding, not bit by bit");
  }
}

void Training::note_inputs() {
  processors_ = processors_of_all();
  together_([&] {
    if (!is_first()) return;
    // Those of a seed are rounded as the processor does it: the seed itself is compared, as a key of the config.
    initial_weights_ = experiment_.config.model.init ? trainables_hash(trainables_->masters()) : "seed";
    model_configs_ = {hash_config(experiment_.encoder_folder), hash_config(experiment_.llm_folder)};
  });
}

std::vector<std::string> Training::corpus_fingerprints() const {
  std::vector<std::string> fingerprints;
  for (const auto& stage : experiment_.stages) fingerprints.push_back(stage.corpus_fingerprint);
  return fingerprints;
}

std::vector<std::string> Training::split_fingerprints() const {
  std::vector<std::string> fingerprints;
  for (const auto& stage : experiment_.stages) fingerprints.push_back(stage.split_fingerprint);
  return fingerprints;
}

std::string Training::processors_of_all() const {
  const std::string mine = dist::processor_name(grid_.device);
  std::vector<std::string> kinds;
  for (const auto& name : grid_.process ? grid_.process->all_gather(mine) : std::vector<std::string>{mine}) {
    if (std::ranges::find(kinds, name) == kinds.end()) kinds.push_back(name);
  }
  std::string text;
  for (const auto& kind : kinds) text += (text.empty() ? "" : ", ") + kind;
  if (is_first() && kinds.size() > 1) {
    log_warn("the ranks have processors of several kinds (" + text +
             "), which round in their own ways: replicas may drift apart, and the run then ends. On CPUs the variable "
             "ATEN_CPU_CAPABILITY=avx2 of every rank may help");
  }
  return text;
}

std::string Training::encoder_weights() const {
  return models_.cache ? models_.cache->cache().form().encoder_weights : "";
}

bool Training::is_of_this_encoder(const TrainingState& state) const {
  if (state.encoder_fingerprint == models_.encoder->fingerprint()) return true;
  // The cache has a name of its own for them, by which a run goes on where the weights are no longer there.
  const auto weights = encoder_weights();
  return !weights.empty() && (weights == state.encoder_weights || weights == state.encoder_fingerprint);
}

}  // namespace layalign::trainer
