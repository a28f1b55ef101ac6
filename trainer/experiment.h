#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "configs/schema.h"
#include "data/batch.h"
#include "data/dataset.h"
#include "data/evaluation_task.h"
#include "data/open_dataset.h"
#include "data/plan.h"
#include "model/encoder.h"
#include "model/layalign.h"
#include "model/llm_config.h"
#include "model/trainables.h"

namespace layalign::trainer {

/// A stage with its corpus open and its length known.
struct PreparedStage {
  configs::StageConfig config;
  std::unique_ptr<data::Dataset> dataset;
  std::string corpus_fingerprint;
  data::Split split;
  std::string split_fingerprint;  ///< what tells it from another split of the corpus
  int64_t steps_per_epoch = 0;
  int64_t total_steps = 0;

  /// The dataset indices of update `step` (0 for the first): a slice of its epoch's order, the last one may be shorter.
  std::vector<int64_t> batch(int64_t step, uint64_t seed) const;

 private:
  mutable std::pair<int64_t, std::vector<int64_t>> order_{-1, {}};  // epoch and its order
};

/// What `parallel.recompute` means.
model::Recompute recompute_mode(const configs::ParallelConfig& parallel);

/// XXH3-128 over all that is asked and what is right.
std::string questions_hash(const std::vector<data::EvaluationItem>& items);

/// A benchmark with its questions.
struct PreparedBenchmark {
  data::EvaluationTask task = data::EvaluationTask::kMgsm;
  std::vector<data::EvaluationItem> items;
};

/// All that a run knows before it reads a weight: both models' configs, the layers, tokenizers, corpora, dev splits, the
/// number of steps and the test questions. Everything that can be wrong with them is found here.
struct Experiment {
  configs::RunConfig config;
  std::filesystem::path encoder_folder, llm_folder;
  model::EncoderInfo encoder;
  model::LlmConfig llm;
  std::vector<int64_t> encoder_layers;   ///< of hidden_states[0..n]; none without an aligner
  std::vector<int64_t> cache_layers;     ///< of hidden_states[0..n] that a cache stores, ascending, the last one always
  std::vector<int64_t> language_layers;  ///< of the LLM; none without an aligner
  data::InputForm input_form = data::InputForm::kMapped;
  model::TrainableSizes sizes;
  data::Vocabulary vocabulary;
  /// Of the encoder and the LLM; empty where no text is read.
  std::string encoder_tokenizer_fingerprint, llm_tokenizer_fingerprint;
  std::vector<PreparedStage> stages;
  std::vector<PreparedBenchmark> benchmarks;  ///< of eval.tasks

  /// One line for each fact that all ranks must agree on, as dist::require_agreement takes them.
  std::vector<std::pair<std::string, std::string>> agreement() const;
};

/// The layers that `layers` means of 0..count-1, `kAll` of 0..all-1; a list as it is.
/// Errors: ConfigError naming `key` where it asks for more layers than there are.
std::vector<int64_t> resolve_layers(const configs::LayerList& layers, int64_t count, int64_t all, const std::string& key);

/// Opens everything of a training run. Errors: ConfigError, ModelError, DataError.
Experiment prepare_experiment(const configs::RunConfig& config);

/// The same without stages and benchmarks. `needs_text`: whether the tokenizers are read.
Experiment prepare_models(const configs::RunConfig& config, bool needs_text);

/// Opens one stage of a prepared experiment.
PreparedStage prepare_stage(const Experiment& experiment, const configs::StageConfig& config);

/// Whether a run reads text, and so needs the tokenizers.
bool reads_text(const configs::RunConfig& config);

/// Samples of a corpus that a stage holds out: dev_size, else the method's 3000 but at most a tenth of the corpus; none of a
/// corpus of ids, which is used as it is given.
int64_t resolve_dev_size(const configs::StageConfig& stage, int64_t corpus_size);

/// The seed of a stage's shuffles.
uint64_t shuffle_seed(int64_t seed, int64_t stage_index);

}  // namespace layalign::trainer
