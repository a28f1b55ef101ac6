#include "trainer/cache_build.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <future>
#include <numeric>
#include <unordered_map>

#include "checkpoints_tools/hash.h"
#include "data/activation_cache/state_codec.h"
#include "data/error.h"
#include "model/clock.h"
#include "trainer/answering.h"
#include "trainer/error.h"
#include "trainer/format.h"
#include "trainer/frozen_check.h"
#include "trainer/log.h"
#include "trainer/progress.h"
#include "trainer/stop.h"

namespace layalign::trainer {
namespace {

namespace fs = std::filesystem;
using model::Clock, model::seconds_since;

/// Source tokens of one call of the encoder: enough to fill the machine, few enough to wait for a second or so.
constexpr int64_t kBatchTokens = 2048;
constexpr std::chrono::seconds kReportEvery{10};
/// A small corpus is cut into so many shards a rank, so that all ranks have work; but not into smaller ones than this.
constexpr int64_t kShardsPerRank = 4, kSmallestShardBytes = int64_t{64} << 20;

/// Of a shard, at most: HDF5's headers, padding to whole pages, the manifest.
constexpr int64_t kShardOverheadBytes = int64_t{64} << 10;

double gigabytes(int64_t bytes) { return static_cast<double>(bytes) / (1 << 30); }

/// The samples of all stages, and the questions of all benchmarks as each stage asks them, as one sequence.
class Sources {
 public:
  explicit Sources(const Experiment& experiment) : experiment_(experiment) {}

  int64_t count() const { return stages() * (1 + static_cast<int64_t>(experiment_.benchmarks.size())); }

  int64_t size(int64_t source) const {
    return is_stage(source) ? stage(source).dataset->size() : static_cast<int64_t>(benchmark(source).items.size());
  }

  data::Sample sample(int64_t source, int64_t index) const {
    if (is_stage(source)) return stage(source).dataset->get(index);
    return question_sample(benchmark(source).items[index], experiment_.vocabulary, stage(source).config, /*prompt=*/false);
  }

 private:
  int64_t stages() const { return static_cast<int64_t>(experiment_.stages.size()); }
  bool is_stage(int64_t source) const { return source < stages(); }
  const PreparedStage& stage(int64_t source) const { return experiment_.stages[source % stages()]; }
  const PreparedBenchmark& benchmark(int64_t source) const { return experiment_.benchmarks[source / stages() - 1]; }

  const Experiment& experiment_;
};

/// This rank's share of all samples: every `ranks`-th.
std::vector<PlannedText> tokenized_share(const Sources& sources, int rank, int ranks) {
  std::vector<PlannedText> texts;
  int64_t number = 0;
  for (int64_t source = 0; source < sources.count(); ++source) {
    for (int64_t i = 0; i < sources.size(source); ++i, ++number) {
      if (number % ranks != rank) continue;
      const auto ids = sources.sample(source, i).source;
      texts.push_back({data::cache_key(ids), static_cast<int64_t>(ids.size()), source, i});
    }
  }
  return texts;
}

std::string to_bytes(const std::vector<PlannedText>& texts) {
  static_assert(std::is_trivially_copyable_v<PlannedText>);
  return {reinterpret_cast<const char*>(texts.data()), texts.size() * sizeof(PlannedText)};
}

void append_from_bytes(const std::string& bytes, std::vector<PlannedText>* texts) {
  const size_t count = bytes.size() / sizeof(PlannedText), before = texts->size();
  texts->resize(before + count);
  std::memcpy(texts->data() + before, bytes.data(), bytes.size());
}

bool earlier_sample(const PlannedText& a, const PlannedText& b) {
  return std::pair(a.source, a.sample) < std::pair(b.source, b.sample);
}

void cut_into_shards(std::vector<PlannedText> missing, const data::CacheForm& form, int64_t shard_bytes, int ranks, CachePlan* plan) {
  const int64_t token_bytes = form.token_bytes();
  for (const PlannedText& text : missing) plan->missing_tokens += text.tokens;
  plan->missing_bytes = plan->missing_tokens * token_bytes;
  const int64_t even = plan->missing_bytes / (kShardsPerRank * ranks);
  shard_bytes = std::min(shard_bytes, std::max(kSmallestShardBytes, even));
  std::sort(missing.begin(), missing.end(),
            [](const auto& a, const auto& b) { return std::pair(a.tokens, a.key) < std::pair(b.tokens, b.key); });
  int64_t room = 0;
  for (const PlannedText& text : missing) {
    const int64_t bytes = text.tokens * token_bytes;
    if (plan->shards.empty() || bytes > room) {
      plan->shards.emplace_back();
      room = shard_bytes;
    }
    room -= bytes;
    plan->shards.back().push_back(text);
  }
  // FORMAT.md: in front of the states an id a token; a key, an offset, and a hash a plane for each text.
  const auto texts = static_cast<int64_t>(missing.size()), shards = static_cast<int64_t>(plan->shards.size());
  plan->file_bytes = plan->missing_bytes + 4 * plan->missing_tokens + texts * (16 + 8 + 8 * form.planes()) + shards * kShardOverheadBytes;
}

/// Shows how far this rank's share is.
class BuildProgress {
 public:
  explicit BuildProgress(int64_t total_tokens) : total_tokens_(total_tokens), terminal_(stdout_is_terminal()) {}
  ~BuildProgress() {
    if (terminal_) show_status_line("");
  }

  void advance(int64_t tokens) {
    done_ += tokens;
    const bool due = Clock::now() - shown_ >= (terminal_ ? std::chrono::seconds(1) : kReportEvery);
    if (!due && done_ < total_tokens_) return;
    shown_ = Clock::now();
    const double elapsed_s = seconds_since(start_), share = static_cast<double>(done_) / static_cast<double>(total_tokens_);
    const auto text = format("cache: %3.0f %%  %.0f source tokens/s  ETA %s", 100 * share, static_cast<double>(done_) / elapsed_s,
                             format_duration(elapsed_s / share - elapsed_s).c_str());
    if (terminal_ && done_ < total_tokens_) show_status_line(text);
    else log_info(text);
  }

 private:
  int64_t total_tokens_, done_ = 0;
  bool terminal_;
  Clock::time_point start_ = Clock::now(), shown_ = Clock::now();
};

/// Encodes the texts of one shard after the other. Beside a GPU a batch is stored while the next one is encoded. On a CPU all threads
/// store it at once: a thread beside the encoder would take a core from one of the encoder's threads, and hold up the others.
class ShardBuilder {
 public:
  ShardBuilder(const Experiment& experiment, const data::CacheForm& form, const fs::path& folder, const dist::ProcessGrid& grid,
               dist::Notice& stop)
      : sources_(experiment),
        form_(form),
        folder_(folder),
        grid_(grid),
        stop_(stop),
        layers_(form.layers.begin(), form.layers.end() - 1),
        encoder_(model::load_encoder(experiment.encoder_folder, grid.device,
                                     form.compute_precision == "bfloat16" ? at::kBFloat16 : at::kFloat,
                                     experiment.config.model.ignore_fields)) {
    require_finite(encoder_->weights(), experiment.encoder_folder);
  }

  void build(const std::vector<PlannedText>& texts, BuildProgress* progress) {
    Shard shard;
    for (const PlannedText& text : texts) shard.samples.push_back(sources_.sample(text.source, text.sample));
    shard.writer = std::make_unique<data::ShardWriter>(folder_, form_, source_ids(shard.samples));
    std::future<void> storing;
    const auto wait = [&] {
      if (storing.valid()) storing.get();
    };
    for (size_t begin = 0, end = 0; begin < texts.size(); begin = end) {
      end = encoder_batch_end(texts, begin);
      const int64_t tokens = std::accumulate(texts.begin() + begin, texts.begin() + end, int64_t{0},
                                             [](int64_t sum, const PlannedText& text) { return sum + text.tokens; });
      grid_.enter(dist::Section::kStep, ++batches_);
      const auto start = Clock::now();
      const auto planes_SD = encode(shard.samples, begin, end);
      times_.encoder_s += seconds_since(start);
      wait();
      leave_if_asked_to_stop(stop_);
      const auto store_batch = [=, this, &shard] { store(shard, begin, end, planes_SD); };
      if (grid_.device.is_cpu()) store_batch();
      else storing = std::async(std::launch::async, store_batch);
      progress->advance(tokens);
      times_.tokens += tokens;
    }
    wait();
    shard.writer->commit();
    times_.texts += static_cast<int64_t>(texts.size());
    times_.bytes += shard.writer->file_bytes();
  }

  const CacheBuildTimes& times() const { return times_; }

 private:
  struct Shard {
    std::vector<data::Sample> samples;
    std::unique_ptr<data::ShardWriter> writer;
  };

  static std::vector<std::vector<int64_t>> source_ids(const std::vector<data::Sample>& samples) {
    std::vector<std::vector<int64_t>> ids;
    for (const auto& sample : samples) ids.push_back(sample.source);
    return ids;
  }

  /// The states of texts [begin, end) in host memory, a plane for each layer.
  std::vector<at::Tensor> encode(const std::vector<data::Sample>& samples, size_t begin, size_t end) const {
    std::vector<int64_t> packed, offsets = {0};
    for (size_t i = begin; i < end; ++i) {
      packed.insert(packed.end(), samples[i].source.begin(), samples[i].source.end());
      offsets.push_back(static_cast<int64_t>(packed.size()));
    }
    const auto states = encoder_->encode(at::tensor(packed, at::kLong).to(grid_.device), offsets, layers_);
    auto planes = states.layers_ESD.to(at::kCPU).unbind();
    planes.push_back(states.last_SD.to(at::kCPU));
    return planes;
  }

  void store(const Shard& shard, size_t begin, size_t end, const std::vector<at::Tensor>& planes_SD) const {
    std::vector<int64_t> rows = {0};
    for (size_t i = begin; i < end; ++i) rows.push_back(rows.back() + static_cast<int64_t>(shard.samples[i].source.size()));
    at::parallel_for(static_cast<int64_t>(begin), static_cast<int64_t>(end), 1, [&](int64_t first, int64_t last) {
      at::NoGradGuard no_grad;
      for (int64_t i = first; i < last; ++i) {
        const int64_t row = rows[i - begin], tokens = rows[i - begin + 1] - row;
        std::vector<at::Tensor> pieces;
        for (const at::Tensor& plane : planes_SD) pieces.push_back(plane.narrow(0, row, tokens));
        try {
          shard.writer->write(i, data::encode_rows(at::stack(pieces), form_.dtype));
        } catch (const data::DataError& error) {
          throw data::DataError(shard.samples[i].origin + ": its encoder states cannot be stored: " + error.what());
        }
      }
    });
  }

  Sources sources_;
  const data::CacheForm& form_;
  const fs::path& folder_;
  const dist::ProcessGrid& grid_;
  dist::Notice& stop_;
  std::vector<int64_t> layers_;
  std::unique_ptr<model::Encoder> encoder_;
  int64_t batches_ = 0;  // begun
  CacheBuildTimes times_;
};

}  // namespace

size_t encoder_batch_end(const std::vector<PlannedText>& texts, size_t begin) {
  size_t end = begin;
  for (int64_t tokens = 0; end < texts.size() && (end == begin || tokens + texts[end].tokens <= kBatchTokens); ++end) {
    tokens += texts[end].tokens;
  }
  return end;
}

std::string CachePlan::fingerprint() const {
  checkpoints_tools::Xxh3 hash;
  for (const auto& shard : shards) {
    hash.update(std::to_string(shard.size()) + "\n");
    for (const PlannedText& text : shard) hash.update(data::to_string(text.key));
  }
  return hash.hex();
}

CachePlan plan_cache(const Experiment& experiment, const data::CacheForm& form, const data::ActivationCache& cache,
                     const dist::Process* process, const Together& together) {
  const Sources sources(experiment);
  const int rank = process ? process->world_rank() : 0, ranks = process ? process->world_size() : 1;
  std::vector<PlannedText> mine, all;
  together([&] { mine = tokenized_share(sources, rank, ranks); });
  if (process) {
    for (const auto& bytes : process->all_gather(to_bytes(mine))) append_from_bytes(bytes, &all);
  } else {
    all = std::move(mine);
  }
  std::sort(all.begin(), all.end(), earlier_sample);

  CachePlan plan;
  std::unordered_map<data::CacheKey, bool> seen;
  std::vector<PlannedText> missing;
  for (const PlannedText& text : all) {
    ++plan.samples;
    plan.sample_tokens += text.tokens;
    if (!seen.emplace(text.key, true).second) continue;
    ++plan.texts;
    plan.tokens += text.tokens;
    if (cache.find(text.key)) ++plan.cached_texts;
    else missing.push_back(text);
  }
  cut_into_shards(std::move(missing), form, experiment.config.cache.shard_bytes.bytes, ranks, &plan);
  return plan;
}

void check_space(const CachePlan& plan, const fs::path& folder) {
  std::error_code error;
  const auto space = fs::space(folder, error);
  if (error) throw IoError(folder.string() + ": cannot ask for its free space: " + error.message());
  const auto needed = static_cast<uint64_t>(plan.file_bytes);
  if (space.available >= needed) return;
  throw IoError(folder.string() + ": the cache would need " + std::to_string(needed) + " bytes more (" +
                format("%.1f GiB", gigabytes(static_cast<int64_t>(needed))) + "), but " + std::to_string(space.available) +
                " are free; no states were written. Choose another cache.path, cache.dtype bfloat16 or float8, or fewer cache.layers");
}

std::string cache_plan_text(const CachePlan& plan, const fs::path& folder) {
  const double saved = plan.sample_tokens == 0 ? 0 : 100 * (1 - static_cast<double>(plan.tokens) / static_cast<double>(plan.sample_tokens));
  return format("%lld samples with %lld source tokens; %lld different texts with %lld tokens (%.1f %% saved)\n",
                static_cast<long long>(plan.samples), static_cast<long long>(plan.sample_tokens),
                static_cast<long long>(plan.texts), static_cast<long long>(plan.tokens), saved) +
         format("%lld of them are cached; %lld tokens are to be encoded: %.3f GiB in %zu shards of ",
                static_cast<long long>(plan.cached_texts), static_cast<long long>(plan.missing_tokens),
                gigabytes(plan.missing_bytes), plan.shards.size()) +
         folder.string();
}

CacheBuildTimes build_cache(const Experiment& experiment, const data::CacheForm& form, const CachePlan& plan,
                            const fs::path& folder, const dist::ProcessGrid& grid, dist::Notice& stop) {
  at::NoGradGuard no_grad;
  CacheBuildTimes times;
  std::vector<const std::vector<PlannedText>*> mine;
  int64_t tokens = 0;
  for (size_t i = grid.world_rank; i < plan.shards.size(); i += grid.world_size) {
    mine.push_back(&plan.shards[i]);
    for (const PlannedText& text : plan.shards[i]) tokens += text.tokens;
  }
  if (!mine.empty()) {
    ShardBuilder builder(experiment, form, folder, grid, stop);
    BuildProgress progress(tokens);
    const auto start = Clock::now();
    for (const auto* shard : mine) builder.build(*shard, &progress);
    times = builder.times();
    times.total_s = seconds_since(start);
  }
  return times;
}

void check_built(const CachePlan& plan, const data::ActivationCache& cache) {
  int64_t missing = 0, texts = 0;
  for (const auto& shard : plan.shards) {
    texts += static_cast<int64_t>(shard.size());
    missing += std::ranges::count_if(shard, [&](const PlannedText& text) { return !cache.find(text.key); });
  }
  if (missing == 0) return;
  throw data::DataError(cache.folder().string() + ": " + std::to_string(missing) + " of the " + std::to_string(texts) +
                        " texts that were encoded are not there: were shards removed meanwhile? The same command encodes them");
}

}  // namespace layalign::trainer
