#include "trainer/experiment.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <span>

#include "checkpoints_tools/hash.h"
#include "checkpoints_tools/mapped_file.h"
#include "configs/error.h"
#include "configs/paths.h"
#include "configs/reader.h"
#include "configs/strict_json.h"
#include "data/error.h"
#include "data/tokenizer.h"

namespace layalign::trainer {
namespace {

/// hidden_states[0..n-1] by default (so not the last, which the mapping reads), some of them, all n+1, or those listed.
std::vector<int64_t> resolve_encoder_layers(const configs::LayerList& layers, const model::EncoderInfo& encoder,
                                            const std::filesystem::path& folder) {
  const auto result = resolve_layers(layers, encoder.depth, encoder.depth + 1, "model.encoder_layers");
  for (int64_t layer : result) {
    if (layer > encoder.depth) {
      throw configs::ConfigError("model.encoder_layers: " + std::to_string(layer) + " is not one of hidden_states[0.." +
                                 std::to_string(encoder.depth) + "] of " + folder.string());
    }
  }
  return result;
}

/// The states that a cache stores: those of cache.layers (all by default) and the last, which the mapping reads.
std::vector<int64_t> resolve_cache_layers(const configs::LayerList& layers, const Experiment& experiment) {
  const int64_t depth = experiment.encoder.depth;
  std::set<int64_t> stored = {depth};
  for (int64_t layer : resolve_layers(layers, depth, depth + 1, "cache.layers")) {
    if (layer > depth) {
      throw configs::ConfigError("cache.layers: " + std::to_string(layer) + " is not one of hidden_states[0.." +
                                 std::to_string(depth) + "] of " + experiment.encoder_folder.string());
    }
    stored.insert(layer);
  }
  for (int64_t layer : experiment.encoder_layers) {
    if (!stored.contains(layer)) {
      throw configs::ConfigError("cache.layers: layer " + std::to_string(layer) +
                                 " is not stored, but model.encoder_layers reads it");
    }
  }
  return {stored.begin(), stored.end()};
}

std::vector<int64_t> resolve_language_layers(const configs::LayerList& layers, const model::LlmConfig& llm,
                                             const std::filesystem::path& folder) {
  const auto result = resolve_layers(layers, llm.layers, llm.layers, "model.language_layers");
  for (int64_t layer : result) {
    if (layer >= llm.layers) {
      throw configs::ConfigError("model.language_layers: " + std::to_string(layer) + " is not one of the layers 0.." +
                                 std::to_string(llm.layers - 1) + " of " + folder.string());
    }
  }
  return result;
}

model::TrainableSizes trainable_sizes(const Experiment& experiment) {
  const auto& config = experiment.config.model;
  model::TrainableSizes sizes;
  sizes.encoder_layers = static_cast<int64_t>(experiment.encoder_layers.size());
  sizes.language_layers = static_cast<int64_t>(experiment.language_layers.size());
  sizes.encoder_width = experiment.encoder.width;
  sizes.llm_width = experiment.llm.hidden_size;
  sizes.mlp = config.structure == "MLP";
  if (config.mapping == "linear") sizes.mapping = model::MappingKind::kLinear;
  if (config.mapping == "none") sizes.mapping = model::MappingKind::kNone;
  if (config.aligner == "uniform_mean") sizes.aligner = model::AlignerKind::kUniformMean;
  if (config.aligner == "none") sizes.aligner = model::AlignerKind::kNone;
  if (config.gate == "dynamic") sizes.gate = model::GateKind::kDynamic;
  if (config.gate == "none") sizes.gate = model::GateKind::kNone;
  return sizes;
}

/// Rows that the longest sample of a stage can take in the LLM.
int64_t longest_sequence(const configs::StageConfig& stage) {
  return 2 + stage.max_source_tokens + stage.max_target_tokens * (stage.prompt ? 2 : 1) - 1;
}

/// Of the file that runs here: nodes may hold builds of their own.
std::string program_hash() {
  const checkpoints_tools::MappedFile program("/proc/self/exe");
  return checkpoints_tools::xxh3_hex(program.bytes());
}

std::string fingerprint_of(const data::Split& split) {
  checkpoints_tools::Xxh3 hash;
  for (const auto* part : {&split.train, &split.dev}) {
    const auto count = static_cast<int64_t>(part->size());
    hash.update(std::as_bytes(std::span(&count, 1)));
    hash.update(std::as_bytes(std::span(*part)));
  }
  return hash.hex();
}

}  // namespace

std::vector<int64_t> resolve_layers(const configs::LayerList& layers, int64_t count, int64_t all, const std::string& key) {
  using Kind = configs::LayerList::Kind;
  if (layers.kind == Kind::kList) return layers.list;
  if (layers.count > count) {
    throw configs::ConfigError(key + ": " + std::to_string(layers.count) + " layers are asked for, but there are " +
                               std::to_string(count));
  }
  int64_t first = 0, size = layers.count;
  if (layers.kind == Kind::kDefault) size = count;
  if (layers.kind == Kind::kAll) size = all;
  if (layers.kind == Kind::kMiddle) first = (count - size) / 2;
  if (layers.kind == Kind::kLast) first = count - size;
  std::vector<int64_t> result(size);
  std::iota(result.begin(), result.end(), first);
  return result;
}

std::vector<std::pair<std::string, std::string>> Experiment::agreement() const {
  std::vector<std::pair<std::string, std::string>> topics = {{"program", program_hash()}, {"config", configs::to_yaml(config)}};
  for (const auto& folder : {encoder_folder, llm_folder}) {
    const auto path = folder / "config.json";
    topics.emplace_back(path.string(), configs::read_text_file(path.string()));
  }
  topics.emplace_back("tokenizer of " + encoder_folder.string(), encoder_tokenizer_fingerprint);
  topics.emplace_back("tokenizer of " + llm_folder.string(), llm_tokenizer_fingerprint);
  for (const auto& stage : stages) {
    topics.emplace_back("corpus of stage " + stage.config.name, stage.corpus_fingerprint);
    topics.emplace_back("dev split of stage " + stage.config.name, stage.split_fingerprint);
  }
  for (const auto& benchmark : benchmarks) {
    topics.emplace_back("questions of " + std::string(data::name_of(benchmark.task)), questions_hash(benchmark.items));
  }
  return topics;
}

model::Recompute recompute_mode(const configs::ParallelConfig& parallel) {
  return parallel.recompute == "full" ? model::Recompute::kFull : model::Recompute::kNone;
}

std::string questions_hash(const std::vector<data::EvaluationItem>& items) {
  checkpoints_tools::Xxh3 hash;
  for (const auto& item : items) {
    for (const auto* text : {&item.language, &item.source, &item.prompt, &item.answer}) hash.update(*text + '\0');
  }
  return hash.hex();
}

uint64_t shuffle_seed(int64_t seed, int64_t stage_index) {
  return static_cast<uint64_t>(seed) * 1000003 + static_cast<uint64_t>(stage_index);
}

std::vector<int64_t> PreparedStage::batch(int64_t step, uint64_t seed) const {
  const int64_t epoch = step / steps_per_epoch;
  if (order_.first != epoch) order_ = {epoch, data::epoch_order(split.train, seed, epoch)};
  const auto& order = order_.second;
  const size_t begin = (step % steps_per_epoch) * config.global_batch;
  const size_t end = std::min(order.size(), begin + static_cast<size_t>(config.global_batch));
  return {order.begin() + begin, order.begin() + end};
}

int64_t resolve_dev_size(const configs::StageConfig& stage, int64_t corpus_size) {
  if (stage.dev_size) return *stage.dev_size;
  return stage.corpus.format == "token_ids" ? 0 : std::min<int64_t>(3000, corpus_size / 10);
}

bool reads_text(const configs::RunConfig& config) {
  const auto is_text = [](const auto& stage) { return stage.corpus.format != "token_ids"; };
  return !config.eval.tasks.empty() || std::any_of(config.stages.begin(), config.stages.end(), is_text);
}

Experiment prepare_models(const configs::RunConfig& config, bool needs_text) {
  Experiment experiment;
  experiment.config = config;
  const auto& ignored = config.model.ignore_fields;
  experiment.encoder_folder = configs::resolve_path(config.model.encoder, config.folder);
  experiment.llm_folder = configs::resolve_path(config.model.llm, config.folder);
  experiment.encoder = model::read_encoder_info(experiment.encoder_folder, ignored);
  experiment.llm = model::LlmConfig::read(experiment.llm_folder, ignored);
  if (!config.parallel.tensor.is_auto()) experiment.llm.check_tensor_parallel(experiment.llm_folder, config.parallel.tensor);
  if (config.model.aligner != "none") {
    experiment.encoder_layers = resolve_encoder_layers(config.model.encoder_layers, experiment.encoder, experiment.encoder_folder);
    experiment.language_layers = resolve_language_layers(config.model.language_layers, experiment.llm, experiment.llm_folder);
  }
  if (config.cache.mode != "off" || config.cache.path) {
    experiment.cache_layers = resolve_cache_layers(config.cache.layers, experiment);
  }
  experiment.input_form = config.model.mapping == "none" ? data::InputForm::kText : data::InputForm::kMapped;
  experiment.sizes = trainable_sizes(experiment);

  auto& vocabulary = experiment.vocabulary;
  vocabulary.encoder_size = experiment.encoder.vocabulary_size;
  vocabulary.llm_size = experiment.llm.vocabulary_size;
  if (needs_text) {
    vocabulary.encoder = data::load_tokenizer(experiment.encoder_folder);
    vocabulary.llm = data::load_tokenizer(experiment.llm_folder);
    data::check_vocabulary(*vocabulary.encoder, vocabulary.encoder_size, experiment.encoder_folder);
    data::check_vocabulary(*vocabulary.llm, vocabulary.llm_size, experiment.llm_folder);
    experiment.encoder_tokenizer_fingerprint = data::tokenizer_fingerprint(experiment.encoder_folder);
    experiment.llm_tokenizer_fingerprint = data::tokenizer_fingerprint(experiment.llm_folder);
    if (const int64_t eos = vocabulary.llm->eos_id(); eos >= 0) experiment.llm.end_targets_with(eos);
  }
  vocabulary.llm_eos = experiment.llm.eos_id;
  return experiment;
}

PreparedStage prepare_stage(const Experiment& experiment, const configs::StageConfig& config) {
  const auto& run = experiment.config;
  experiment.llm.check_sequence_length(experiment.llm_folder, longest_sequence(config));
  PreparedStage stage;
  stage.config = config;
  stage.dataset = data::open_dataset(config, run.data, run.folder, experiment.vocabulary);
  experiment.encoder.check_source_length(stage.dataset->longest_source());
  stage.corpus_fingerprint = stage.dataset->fingerprint();
  const int64_t size = stage.dataset->size();
  try {
    stage.split = data::split_by_group(*stage.dataset, resolve_dev_size(config, size), static_cast<uint64_t>(run.seed));
  } catch (const data::DataError& error) {
    throw data::DataError("stage " + config.name + ": " + error.what());
  }
  stage.split_fingerprint = fingerprint_of(stage.split);
  const auto train_size = static_cast<int64_t>(stage.split.train.size());
  stage.steps_per_epoch = (train_size + config.global_batch - 1) / config.global_batch;
  stage.total_steps = config.epochs * stage.steps_per_epoch;
  if (config.max_steps) stage.total_steps = std::min(stage.total_steps, *config.max_steps);
  return stage;
}

Experiment prepare_experiment(const configs::RunConfig& config) {
  auto experiment = prepare_models(config, reads_text(config));
  for (const auto& stage : config.stages) experiment.stages.push_back(prepare_stage(experiment, stage));
  for (const auto& name : config.eval.tasks) {
    const auto task = *data::evaluation_task_named(name);
    const auto root = configs::resolve_path(*config.data.root, config.folder);
    experiment.benchmarks.push_back({task, data::read_evaluation(task, root, config.eval.languages, config.eval.limit)});
  }
  return experiment;
}

}  // namespace layalign::trainer
