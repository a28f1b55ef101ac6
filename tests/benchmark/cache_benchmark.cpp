// What the activation cache costs and saves: cached steps beside online steps, and reading beside read(2), in one run.
//   cache_benchmark CONFIG [KEY=VALUE...]     the cache of CONFIG is built already; prints one JSON line
#include <fcntl.h>
#include <unistd.h>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>

#include "configs/reader.h"
#include "data/batch.h"
#include "model/clock.h"
#include "trainer/cache_build.h"
#include "trainer/cached_models.h"
#include "trainer/experiment.h"
#include "trainer/frozen_models.h"
#include "trainer/train_step.h"

namespace layalign {
namespace {

using model::Clock, model::seconds_since;

/// Trained online and cached, at most: reading and encoding go through all texts.
constexpr int64_t kSteps = 29;

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

void run_here(const std::function<void()>& piece) { piece(); }

/// A whole training of its own: models, trainables, optimiser.
struct Trainer {
  Trainer(configs::RunConfig config, const std::string& mode)
      : experiment([&] {
          config.cache.mode = mode;
          return trainer::prepare_experiment(config);
        }()),
        models(trainer::load_frozen_models(experiment, grid, run_here)),
        trainables(experiment.sizes, grid.device, trainer::TrainStep::riders(grid)),
        layalign(*models.llm, trainables, experiment.language_layers, experiment.input_form, model::Recompute::kNone),
        step(grid, experiment.config.optimizer,
             trainer::Models{*models.encoder, *models.llm, layalign, trainables, experiment.encoder_layers}) {
    trainables.initialise(0);
  }

  std::vector<data::Sample> batch(int64_t number) const {
    std::vector<data::Sample> samples;
    for (int64_t index : stage().batch(number, 0)) samples.push_back(stage().dataset->get(index));
    return samples;
  }
  const trainer::PreparedStage& stage() const { return experiment.stages[0]; }

  /// One step, the next one announced before, as in training.
  double timed_step(int64_t number, double* loss) {
    const auto samples = batch(number), next = batch(number + 1);
    if (number == 0) step.expect(samples, stage().config.micro_batch);
    const auto start = Clock::now();
    step.expect(next, stage().config.micro_batch);
    *loss = step.run(samples, stage().config.micro_batch, 1e-3, number + 1).loss;
    return seconds_since(start);
  }

  dist::ProcessGrid grid;
  trainer::Experiment experiment;
  trainer::FrozenModels models;
  model::Trainables trainables;
  model::LayAlign layalign;
  trainer::TrainStep step;
};

/// Seconds of one call of the encoder for the source texts of the samples.
double encoder_seconds(const Trainer& online, std::span<const data::Sample> samples) {
  const auto batch = data::pack(samples, online.models.llm->config().bos_id);
  const auto start = Clock::now();
  online.models.encoder->encode(batch.source_ids_S, batch.source_offsets, online.experiment.encoder_layers);
  return seconds_since(start);
}

/// The same for the micro-batches of a step.
double step_encoder_seconds(const Trainer& online, int64_t number) {
  const auto samples = online.batch(number);
  double seconds = 0;
  for (size_t begin = 0; begin < samples.size(); begin += online.stage().config.micro_batch) {
    const size_t count = std::min<size_t>(online.stage().config.micro_batch, samples.size() - begin);
    seconds += encoder_seconds(online, std::span(samples).subspan(begin, count));
  }
  return seconds;
}

/// The same for the batches that `layalign-cache build` makes of all texts, nothing beside it.
double build_encoder_seconds(const Trainer& online, const data::CacheForm& form) {
  const auto plan = trainer::plan_cache(online.experiment, form, *data::ActivationCache::none(form), nullptr, run_here);
  at::NoGradGuard no_grad;
  double seconds = 0;
  for (const auto& shard : plan.shards) {
    for (size_t begin = 0, end = 0; begin < shard.size(); begin = end) {
      end = trainer::encoder_batch_end(shard, begin);
      std::vector<data::Sample> samples;
      for (size_t i = begin; i < end; ++i) samples.push_back(online.stage().dataset->get(shard[i].sample));
      seconds += encoder_seconds(online, samples);
    }
  }
  return seconds;
}

/// Lets the system forget what it has of the shards.
void drop_from_page_cache(const data::ActivationCache& cache) {
  for (const auto& shard : cache.shards()) {
    const int file = ::open(shard->path().c_str(), O_RDONLY | O_CLOEXEC);
    ::fdatasync(file);
    ::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    ::close(file);
  }
}

/// MB/s of read(2) over all shards, a large buffer at a time.
double plain_read_rate(const data::ActivationCache& cache) {
  std::vector<char> buffer(size_t{4} << 20);
  int64_t bytes = 0;
  const auto start = Clock::now();
  for (const auto& shard : cache.shards()) {
    const int file = ::open(shard->path().c_str(), O_RDONLY | O_CLOEXEC);
    for (ssize_t count; (count = ::read(file, buffer.data(), buffer.size())) > 0;) bytes += count;
    ::close(file);
  }
  return static_cast<double>(bytes) / seconds_since(start) / 1e6;
}

/// The texts of each step, in the order of training.
std::vector<std::vector<data::CachedText>> texts_of_steps(const data::ActivationCache& cache, const Trainer& cached, int64_t steps) {
  std::vector<std::vector<data::CachedText>> batches(steps);
  for (int64_t i = 0; i < steps; ++i) {
    for (const auto& sample : cached.batch(i)) batches[i].push_back(*cache.find(data::cache_key(sample.source)));
  }
  return batches;
}

/// A reader of all planes, with the threads and memory of the config. It lives as long as a training does: like the buffer of the
/// plain read, its threads and memory are there before the clock starts.
std::unique_ptr<data::BlockReader> reader_of(const data::ActivationCache& cache, const configs::CacheConfig& config) {
  std::vector<int64_t> planes(cache.form().planes());
  std::iota(planes.begin(), planes.end(), 0);
  return std::make_unique<data::BlockReader>(
      cache, planes,
      data::BlockReaderOptions{.threads = static_cast<int>(config.threads), .memory_limit_bytes = config.memory_limit.bytes});
}

/// MB/s of the reader over all batches: each announced one ahead, hashes compared, put together.
double reader_rate(data::BlockReader& reader, const std::vector<std::vector<data::CachedText>>& batches) {
  const int64_t bytes_before = reader.bytes_read();
  const auto start = Clock::now();
  reader.expect(batches[0]);
  for (size_t i = 0; i < batches.size(); ++i) {
    if (i + 1 < batches.size()) reader.expect(batches[i + 1]);
    if (!reader.take(batches[i]).damaged.empty()) throw std::runtime_error("the cache is damaged");
  }
  return static_cast<double>(reader.bytes_read() - bytes_before) / seconds_since(start) / 1e6;
}

int main(int argc, char** argv) {
  const auto config = configs::load_config(argv[1], {argv + 2, argv + argc});
  if (config.parallel.threads) at::set_num_threads(static_cast<int>(*config.parallel.threads));
  Trainer online(config, "off"), cached(config, "read");
  const auto& cache = cached.models.cache->cache();
  const int64_t batches_of_stage = online.stage().total_steps - 1, steps = std::min(batches_of_stage, kSteps);

  std::vector<double> online_s, cached_s, saved_s, encoder_s;
  double largest_difference = 0, first_difference = 0, sum_of_differences = 0;
  for (int64_t i = 0; i < steps; ++i) {
    double online_loss = 0, cached_loss = 0;
    const double a = online.timed_step(i, &online_loss), b = cached.timed_step(i, &cached_loss);
    const double difference = std::abs(cached_loss / online_loss - 1);
    if (i == 0) first_difference = difference;
    largest_difference = std::max(largest_difference, difference);
    sum_of_differences += difference;
    const double encoder = step_encoder_seconds(online, i);
    if (i == 0) continue;  // warms up
    online_s.push_back(a);
    cached_s.push_back(b);
    saved_s.push_back(a - b);
    encoder_s.push_back(encoder);
  }

  std::vector<double> build_encoder_s;
  for (int i = 0; i < 5; ++i) build_encoder_s.push_back(build_encoder_seconds(online, cache.form()));
  const auto batches = texts_of_steps(cache, cached, batches_of_stage);
  const auto reader = reader_of(cache, cached.experiment.config.cache);
  reader_rate(*reader, batches);
  std::map<std::string, std::vector<double>> rates;
  for (int i = 0; i < 5; ++i) {
    drop_from_page_cache(cache);
    rates["plain_read_cold"].push_back(plain_read_rate(cache));
    drop_from_page_cache(cache);
    rates["reader_cold"].push_back(reader_rate(*reader, batches));
  }
  for (int i = 0; i < 40; ++i) {  // each takes some milliseconds
    rates["plain_read_warm"].push_back(plain_read_rate(cache));
    rates["reader_warm"].push_back(reader_rate(*reader, batches));
  }
  nlohmann::ordered_json report = {{"bare_encoder_s", median(build_encoder_s)},
                                   {"steps", steps},
                                   {"online_step_s", median(online_s)},
                                   {"cached_step_s", median(cached_s)},
                                   {"encoder_s", median(encoder_s)},
                                   {"saved_s", median(saved_s)},
                                   {"saved_share_of_encoder", median(saved_s) / median(encoder_s)},
                                   {"first_loss_difference", first_difference},
                                   {"largest_loss_difference", largest_difference},
                                   {"mean_loss_difference", sum_of_differences / static_cast<double>(steps)}};
  for (const auto& [name, values] : rates) report[name + "_mb_s"] = median(values);
  report["reader_share_of_plain_read_warm"] = median(rates["reader_warm"]) / median(rates["plain_read_warm"]);
  std::cout << report.dump() << "\n";
  return 0;
}

}  // namespace
}  // namespace layalign

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: cache_benchmark CONFIG [KEY=VALUE...]\n";
    return 2;
  }
  return layalign::main(argc, argv);
}
