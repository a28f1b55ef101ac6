#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

// One struct a section, the defaults in the struct. What each key means, allows and is called: fields.h.
namespace layalign::configs {

/// Layers of a model: the method's own choice, some of those (its first, middle or last ones), all, or a list of indices
/// (not empty, no repeats).
struct LayerList {
  enum class Kind { kDefault, kAll, kList, kFirst, kMiddle, kLast };

  Kind kind = Kind::kDefault;
  std::vector<int64_t> list;  ///< only for kList, in the order given
  int64_t count = 0;          ///< only for kFirst, kMiddle and kLast

  bool operator==(const LayerList&) const = default;
};

/// A number of bytes; in a file an integer, or one with a unit (512MiB, 2GiB).
struct ByteSize {
  int64_t bytes = 0;

  bool operator==(const ByteSize&) const = default;
};

/// A time; in a file with units: 45s, 90m, 23h30m.
struct Duration {
  int64_t seconds = 0;

  bool operator==(const Duration&) const = default;
};

/// Ranks that share one LLM; in a file an integer from 1, or auto: left to the planner.
struct TensorSize {
  int64_t ranks = 1;  ///< 0: auto

  TensorSize() = default;
  TensorSize(int64_t count) : ranks(count) {}
  operator int64_t() const { return ranks; }
  bool is_auto() const { return ranks == 0; }
};

/// The two frozen models and the trained parts between them.
struct ModelConfig {
  std::string encoder;
  std::string llm;
  LayerList encoder_layers;
  LayerList language_layers{LayerList::Kind::kAll, {}, 0};
  std::string mapping = "mlp";
  std::string aligner = "layer_wise";
  std::string structure = "Linear";
  std::string gate = "scalar";
  std::optional<std::string> init;
  std::vector<std::string> ignore_fields;
};

/// The process grid and what a rank computes with.
struct ParallelConfig {
  TensorSize tensor;
  bool sequence = false;
  std::string device = "auto";
  std::string precision = "float32";
  std::string recompute = "none";
  std::optional<int64_t> threads;
  int64_t check_replicas_every = 100;
};

/// Where the public data layout lies.
struct DataConfig {
  std::optional<std::string> root;
};

/// The text of a stage.
struct CorpusConfig {
  std::string format;
  std::vector<std::string> languages;
  std::optional<int64_t> train_num;
  std::optional<std::string> path;
  std::string task = "answer";
};

/// The cache of the encoder's per-layer states.
struct CacheConfig {
  std::string mode = "off";
  std::optional<std::string> path;
  std::string dtype = "float32";
  LayerList layers;
  ByteSize memory_limit{int64_t{1} << 30};
  ByteSize shard_bytes{int64_t{2} << 30};
  int64_t threads = 2;
};

/// One training stage; stages run in order, each from the trainables of the one before.
struct StageConfig {
  std::string name;  ///< load_config names a nameless stage by its place: stage-1, stage-2, ...
  CorpusConfig corpus;
  bool prompt = false;
  int64_t epochs = 3;
  std::optional<int64_t> max_steps;
  int64_t global_batch = 128;
  int64_t micro_batch = 8;
  double lr = 4.0e-5;
  int64_t max_source_tokens = 512;
  int64_t max_target_tokens = 512;
  std::optional<int64_t> dev_size;
  int64_t eval_every = 200;
};

/// AdamW, and how gradients are normalised and clipped.
struct OptimizerConfig {
  std::array<double, 2> betas{0.8, 0.999};
  double eps = 1e-8;
  double weight_decay = 3e-7;
  double clip_norm = 1.0;
  std::string loss_normalization = "tokens";
  int64_t skip_nonfinite = 0;
};

/// The learning rate over the steps of a stage.
struct ScheduleConfig {
  std::string name = "cosine";
  double warmup = 0.05;
};

/// How often the run is saved and how much is kept.
struct CheckpointConfig {
  int64_t every = 200;
  std::optional<double> every_minutes;
  int64_t keep = 3;
  std::optional<int64_t> keep_every;
};

/// How often the run reports, and to whom.
struct LogConfig {
  int64_t every = 10;
  bool tensorboard = true;
};

/// Benchmarks scored by generation: while training, and the defaults of layalign-eval.
struct EvalConfig {
  std::vector<std::string> tasks;
  std::optional<int64_t> every;
  std::vector<std::string> languages;
  std::optional<int64_t> limit;
  int64_t max_new_tokens = 512;
  int64_t batch = 8;
  std::string best = "perplexity";
};

/// How ranks talk.
struct CommConfig {
  std::string backend = "auto";
};

/// How long a rank may stand still before all are ended; 0s: as long as it likes.
struct WatchdogConfig {
  Duration set_up{30 * 60};
  Duration step{10 * 60};
  Duration save{15 * 60};
  Duration evaluation{30 * 60};
};

/// A whole run: what one config file says.
struct RunConfig {
  std::string output = "runs/layalign";
  int64_t seed = 0;
  ModelConfig model;
  ParallelConfig parallel;
  DataConfig data;
  CacheConfig cache;
  std::vector<StageConfig> stages;
  OptimizerConfig optimizer;
  ScheduleConfig schedule;
  CheckpointConfig checkpoint;
  EvalConfig eval;
  LogConfig log;
  CommConfig comm;
  WatchdogConfig watchdog;
  std::optional<Duration> stop_after;
  std::string folder;  ///< not a key: the folder of the config file, "." where it has none
};

}  // namespace layalign::configs
