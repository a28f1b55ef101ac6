#pragma once

#include <array>
#include <concepts>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>

#include "configs/schema.h"

// The one list of the keys of each section: name, meaning and what is allowed. Parsing, dumping, help and comparison
// all walk it, so a key exists in all four or in none.
namespace layalign::configs {

/// What a key's value may be, beyond its type. Numbers: from `low` (above it where `low_is_open`) to below `high`.
struct Rule {
  bool required = false;
  std::span<const std::string_view> choices{};
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool low_is_open = false;
};

/// A key: its name in the file, its meaning in a sentence or two, its rule.
struct Field {
  std::string_view name;
  std::string_view doc;
  Rule rule{};
};

inline constexpr Rule kRequired{.required = true};
inline constexpr Rule kFromZero{.low = 0};
inline constexpr Rule kFromOne{.low = 1};
inline constexpr Rule kPositive{.low = 0, .low_is_open = true};
inline constexpr Rule kFraction{.low = 0, .high = 1};

inline constexpr std::array<std::string_view, 3> kMappings{"mlp", "linear", "none"};
inline constexpr std::array<std::string_view, 3> kAligners{"layer_wise", "uniform_mean", "none"};
inline constexpr std::array<std::string_view, 2> kStructures{"Linear", "MLP"};
inline constexpr std::array<std::string_view, 3> kGates{"scalar", "dynamic", "none"};
inline constexpr std::array<std::string_view, 4> kEvalTasks{"mgsm", "msvamp", "x_csqa", "xnli"};
inline constexpr std::array<std::string_view, 2> kBests{"perplexity", "accuracy"};
inline constexpr std::array<std::string_view, 3> kDevices{"auto", "cpu", "cuda"};
inline constexpr std::array<std::string_view, 2> kPrecisions{"float32", "bfloat16"};
inline constexpr std::array<std::string_view, 2> kRecomputes{"none", "full"};
inline constexpr std::array<std::string_view, 7> kFormats{"bilingual_pairs", "metamath", "x_csqa",   "xnli",
                                                          "msvamp",          "jsonl",    "token_ids"};
inline constexpr std::array<std::string_view, 2> kTasks{"answer", "translation"};
inline constexpr std::array<std::string_view, 2> kLossNormalizations{"tokens", "micro_batch"};
inline constexpr std::array<std::string_view, 3> kSchedules{"cosine", "linear", "constant"};
inline constexpr std::array<std::string_view, 5> kCacheModes{"off", "read", "write", "read_write", "auto"};
inline constexpr std::array<std::string_view, 3> kCacheDtypes{"float32", "bfloat16", "float8"};
inline constexpr std::array<std::string_view, 3> kBackends{"auto", "mpi", "nccl"};

/// S or const S: lets one list serve reading and writing.
template <typename T, typename S>
concept MaybeConst = std::same_as<std::remove_const_t<T>, S>;

template <MaybeConst<ModelConfig> S>
void visit_fields(S& s, auto&& visit) {
  visit(Field{"encoder", "Hugging Face folder of the frozen multilingual encoder.", kRequired}, s.encoder);
  visit(Field{"llm", "Hugging Face folder of the frozen decoder-only LLM.", kRequired}, s.llm);
  visit(Field{"encoder_layers",
              "Encoder states that the aligner reads: 0 is the embedding output, n the state after the final norm. "
              "default: 0 to n-1; first 8, middle 8, last 8: so many of those; all: 0 to n."},
        s.encoder_layers);
  visit(Field{"language_layers", "LLM layers that get fusion attention, from 0. default and all: every layer."},
        s.language_layers);
  visit(Field{"mapping",
              "From encoder states to input tokens of the LLM. none: the LLM reads the text alone, the encoder reaches it "
              "through the aligner.",
              {.choices = kMappings}},
        s.mapping);
  visit(Field{"aligner",
              "Which mix of the encoder's layers the fusion attends to. layer_wise: learned for each LLM layer; "
              "uniform_mean: their mean; none: no fusion.",
              {.choices = kAligners}},
        s.aligner);
  visit(Field{"structure", "The aligner: MLP adds one more layer to Linear.", {.choices = kStructures}}, s.structure);
  visit(Field{"gate",
              "What scales the fusion. scalar: a number a layer; dynamic: a linear function of the hidden state; none: nothing.",
              {.choices = kGates}},
        s.gate);
  visit(Field{"init",
              "Trained weights to start from: a .safetensors file, a checkpoint, a stage's folder, a run or an exported "
              "adapter. null: from the seed."},
        s.init);
  visit(
      Field{"ignore_fields",
            "Fields of a model's config.json to accept although this program does not know them. Only for fields that "
            "do not change what the model computes."},
      s.ignore_fields);
}

template <MaybeConst<ParallelConfig> S>
void visit_fields(S& s, auto&& visit) {
  visit(Field{"tensor",
              "Ranks that share one LLM (tensor parallel). Data-parallel copies: all ranks / tensor. auto: chosen by "
              "memory and "
              "planned time, kept at a resume.",
              kFromOne},
        s.tensor);
  visit(Field{"sequence", "Sequence parallel. Not available yet: only false is accepted."}, s.sequence);
  visit(Field{"device", "auto: a CUDA device where there is one.", {.choices = kDevices}}, s.device);
  visit(
      Field{"precision",
            "Of frozen weights and matrix products. Norms, softmax, loss, trained weights and gradient sums are always "
            "float32.",
            {.choices = kPrecisions}},
      s.precision);
  visit(Field{"recompute",
              "full: activations of the LLM are computed again in backward, less memory for more time.",
              {.choices = kRecomputes}},
        s.recompute);
  visit(Field{"threads", "CPU threads of a rank. null: OMP_NUM_THREADS, else an equal share of the CPUs that the ranks of a node may use.", kFromOne}, s.threads);
  visit(
      Field{"check_replicas_every", "Steps between two checks that all ranks hold the same trained weights, and the frozen ones that they loaded.", kFromOne},
      s.check_replicas_every);
}

template <MaybeConst<DataConfig> S>
void visit_fields(S& s, auto&& visit) {
  visit(Field{"root",
              "Folder of the public data layout (bilingual_pairs/, query_translation/, ...); a relative corpus.path is "
              "looked up here first."},
        s.root);
}

template <MaybeConst<CacheConfig> S>
void visit_fields(S& s, auto&& visit) {
  visit(Field{"mode",
              "off: the encoder runs. read: its states come from the cache alone, a missing one is an error. write: it runs, "
              "and what is missing is added. read_write: what is there is read, the rest computed and added. auto: whichever of "
              "reading and computing is faster, measured in the first steps.",
              {.choices = kCacheModes}},
        s.mode);
  visit(Field{"path", "Folder of the cache; layalign-cache build makes it."}, s.path);
  visit(Field{"dtype",
              "How states are stored. Computed ones are rounded alike, so that a run does not depend on what was cached.",
              {.choices = kCacheDtypes}},
        s.dtype);
  visit(Field{"layers",
              "Encoder states that are stored, as in model.encoder_layers; the last one always is. default and all: every one."},
        s.layers);
  visit(Field{"memory_limit", "Of states that a rank has read ahead, or has computed and not yet written.", kFromOne},
        s.memory_limit);
  visit(Field{"shard_bytes", "Size of a shard of layalign-cache build: what a killed build can lose.", kFromOne}, s.shard_bytes);
  visit(Field{"threads", "Threads of a rank that read ahead.", kFromOne}, s.threads);
}

template <MaybeConst<CorpusConfig> S>
void visit_fields(S& s, auto&& visit) {
  visit(
      Field{"format",
            "Layout of the text. bilingual_pairs, metamath, x_csqa and xnli lie at their places under data.root; jsonl "
            "(source, target, prompt, language) and token_ids (ids, no tokenizer) are files of your own.",
            {.required = true, .choices = kFormats}},
      s.format);
  visit(Field{"languages", "By English name, such as Bengali; in jsonl any name. []: all that the format has."},
        s.languages);
  visit(Field{"train_num", "First rows to take of each language. null: all.", kFromOne}, s.train_num);
  visit(Field{"path",
              "File of jsonl and token_ids, file or folder of msvamp: absolute, else under data.root, else beside the "
              "config."},
        s.path);
  visit(Field{"task",
              "Only msvamp. answer: question to solution; translation: question to the English question.",
              {.choices = kTasks}},
        s.task);
}

template <MaybeConst<StageConfig> S>
void visit_fields(S& s, auto&& visit) {
  visit(Field{"name", "In reports and file names: letters, digits, '.', '_', '-'. Names must differ."}, s.name);
  visit(Field{"corpus", "The text of the stage.", kRequired}, s.corpus);
  visit(Field{"prompt", "Whether the LLM also reads the task's prompt text (the encoder always reads the source)."},
        s.prompt);
  visit(Field{"epochs", "Passes over the corpus.", kFromOne}, s.epochs);
  visit(Field{"max_steps", "Ends the stage early. null: only the epochs count.", kFromOne}, s.max_steps);
  visit(Field{"global_batch", "Samples of one optimizer step, over all ranks.", kFromOne}, s.global_batch);
  visit(Field{"micro_batch", "Samples of one forward pass of a data-parallel rank: memory, not results.", kFromOne},
        s.micro_batch);
  visit(Field{"lr", "Peak learning rate.", kPositive}, s.lr);
  visit(Field{"max_source_tokens", "Encoder tokens of a sample, the end token included.", kFromOne},
        s.max_source_tokens);
  visit(Field{"max_target_tokens", "Tokens of a sample's target, the end token included, and of its prompt.", kFromOne},
        s.max_target_tokens);
  visit(Field{"dev_size",
              "Samples held out of the shuffled corpus for perplexity. null: 3000, but at most a tenth of the corpus; "
              "none of token_ids.",
              kFromZero},
        s.dev_size);
  visit(Field{"eval_every", "Steps between two held-out evaluations.", kFromOne}, s.eval_every);
}

template <MaybeConst<OptimizerConfig> S>
void visit_fields(S& s, auto&& visit) {
  visit(Field{"betas", "AdamW's decay of the two moments.", kFraction}, s.betas);
  visit(Field{"eps", "AdamW's term in the denominator.", kPositive}, s.eps);
  visit(Field{"weight_decay", "AdamW's decoupled weight decay.", kFromZero}, s.weight_decay);
  visit(Field{"clip_norm", "Largest global norm of the gradient. A huge one, such as 1e30, clips nothing.", kPositive},
        s.clip_norm);
  visit(Field{"loss_normalization",
              "tokens: mean over the label tokens of the global batch; micro_batch: mean of the micro batches' means.",
              {.choices = kLossNormalizations}},
        s.loss_normalization);
  visit(Field{"skip_nonfinite",
              "Steps of a stage that may be skipped, with a warning, because loss or gradient is not finite; one more ends the run.",
              kFromZero},
        s.skip_nonfinite);
}

template <MaybeConst<ScheduleConfig> S>
void visit_fields(S& s, auto&& visit) {
  visit(Field{"name",
              "Learning rate after the warm-up: falls to 0 (cosine, linear) or stays (constant).",
              {.choices = kSchedules}},
        s.name);
  visit(Field{"warmup", "Fraction of the stage's steps in which the learning rate rises from 0.", kFraction}, s.warmup);
}

template <MaybeConst<CheckpointConfig> S>
void visit_fields(S& s, auto&& visit) {
  visit(Field{"every", "Steps between two checkpoints.", kFromOne}, s.every);
  visit(Field{"every_minutes", "Minutes after which one is made besides. null: only by steps.", kPositive}, s.every_minutes);
  visit(Field{"keep", "Newest checkpoints of a stage that are kept.", kFromOne}, s.keep);
  visit(Field{"keep_every", "Those whose step is a multiple of this are kept besides. null: none.", kFromOne}, s.keep_every);
}

template <MaybeConst<EvalConfig> S>
void visit_fields(S& s, auto&& visit) {
  visit(Field{"tasks", "Benchmarks that are scored while training, by generation: mgsm, msvamp, x_csqa, xnli. []: none."}, s.tasks);
  visit(Field{"every", "Steps between two such evaluations. null: only at the end of each stage.", kFromOne}, s.every);
  visit(Field{"languages", "By English name. []: all whose test file is there."}, s.languages);
  visit(Field{"limit", "First samples to take of each language. null: all.", kFromOne}, s.limit);
  visit(Field{"max_new_tokens", "Tokens to generate at most.", kFromOne}, s.max_new_tokens);
  visit(Field{"batch", "Samples that a data-parallel rank generates for at once: memory, not results.", kFromOne}, s.batch);
  visit(Field{"best", "What decides which trained weights are kept as best.", {.choices = kBests}}, s.best);
}

template <MaybeConst<LogConfig> S>
void visit_fields(S& s, auto&& visit) {
  visit(Field{"every", "Steps between two printed lines; metrics.jsonl has a line every step.", kFromOne}, s.every);
  visit(Field{"tensorboard", "Whether the first rank also writes what TensorBoard reads, to OUTPUT/tensorboard/."}, s.tensorboard);
}

template <MaybeConst<CommConfig> S>
void visit_fields(S& s, auto&& visit) {
  visit(Field{"backend", "Between ranks. auto: nccl on CUDA devices, mpi on CPUs.", {.choices = kBackends}}, s.backend);
}

template <MaybeConst<WatchdogConfig> S>
void visit_fields(S& s, auto&& visit) {
  visit(Field{"set_up", "While models and data are read. 0s, here and below: no limit.", kFromZero}, s.set_up);
  visit(Field{"step", "In a training step, or a batch of a cache that is built.", kFromZero}, s.step);
  visit(Field{"save", "While a checkpoint is written.", kFromZero}, s.save);
  visit(Field{"evaluation", "For a batch of an evaluation.", kFromZero}, s.evaluation);
}

template <MaybeConst<RunConfig> S>
void visit_fields(S& s, auto&& visit) {
  visit(Field{"output", "Folder of the run: metrics, checkpoints, trained weights. Made if missing."}, s.output);
  visit(Field{"seed", "Of the trained weights and of the order of the samples.", kFromZero}, s.seed);
  visit(Field{"model", "The two frozen models and the trained parts between them.", kRequired}, s.model);
  visit(Field{"parallel", "The process grid, and what a rank computes with."}, s.parallel);
  visit(Field{"data", "Where the text lies."}, s.data);
  visit(Field{"cache", "The encoder's per-layer states on disk: encode once, train many times."}, s.cache);
  visit(
      Field{"stages", "Training stages, in order; each goes on from the trained weights of the one before.", kRequired},
      s.stages);
  visit(Field{"optimizer", "AdamW and the gradient."}, s.optimizer);
  visit(Field{"schedule", "The learning rate over the steps of a stage."}, s.schedule);
  visit(Field{"checkpoint", "How often the run is saved."}, s.checkpoint);
  visit(Field{"eval", "Benchmarks scored by generation."}, s.eval);
  visit(Field{"log", "How often the run reports, and to whom."}, s.log);
  visit(Field{"comm", "How ranks talk."}, s.comm);
  visit(Field{"watchdog", "Times after which all ranks are ended, with exit code 70, because none of them goes on."}, s.watchdog);
  visit(Field{"stop_after", "Time after which the run saves itself and ends with exit code 75, to be started again. null: never.", kFromOne},
        s.stop_after);
}

/// A struct with a list of fields.
template <typename T>
concept Section = requires(T& section) {
  visit_fields(section, [](const Field&, auto&) {});
};

}  // namespace layalign::configs
