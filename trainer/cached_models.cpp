#include "trainer/cached_models.h"

#include "checkpoints_tools/file_operations.h"
#include "checkpoints_tools/weight_folder.h"
#include "configs/error.h"
#include "configs/paths.h"
#include "data/tokenizer.h"
#include "dist/agreement.h"
#include "trainer/frozen_check.h"
#include "trainer/log.h"
#include "trainer/weights_hash.h"

namespace layalign::trainer {
namespace {

namespace fs = std::filesystem;
using OnDamage = data::ActivationCache::OnDamage;

bool has_weights(const fs::path& folder) {
  return fs::exists(folder / "model.safetensors") || fs::exists(folder / "model.safetensors.index.json");
}

data::CacheForm form_without_weights(const Experiment& experiment) {
  data::CacheForm form;
  form.encoder_config = hash_config(experiment.encoder_folder);
  form.compute_precision = experiment.config.parallel.precision;
  form.dtype = data::cache_dtype_named(experiment.config.cache.dtype);
  form.layers = experiment.cache_layers;
  form.width = experiment.encoder.width;
  form.tokenizer = data::tokenizer_fingerprint(experiment.encoder_folder);
  return form;
}

model::CacheUse use_of(const std::string& mode) {
  if (mode == "read") return {.read = true, .compute = false, .add = false};
  if (mode == "write") return {.read = false, .compute = true, .add = true};
  if (mode == "read_write") return {.read = true, .compute = true, .add = true};
  return {.read = true, .compute = true, .add = false};  // auto
}

/// What the first rank sees, on every rank: ranks that see other files would go other ways, and wait for one another.
bool as_first_rank_sees(const dist::Process* process, const std::function<bool()>& look, const Together& together) {
  bool seen = false;
  together([&] {
    if (!process || process->world_rank() == 0) seen = look();
  });
  return process ? process->broadcast(seen ? "yes" : "", 0) == "yes" : seen;
}

/// The names of all shards, for the agreement of the ranks.
std::string shard_names(const data::ActivationCache& cache) {
  std::string names;
  for (const auto& shard : cache.shards()) names += shard->path().filename().string() + "\n";
  return names;
}

}  // namespace

fs::path cache_folder(const configs::RunConfig& config) {
  if (!config.cache.path) {
    throw configs::ConfigError("missing required key 'cache.path': the folder of the cache (or --set cache.path=DIR)");
  }
  return configs::resolve_path(*config.cache.path, config.folder);
}

data::CacheForm cache_form(const Experiment& experiment, const dist::Process* process, const Together& together) {
  const auto& config = experiment.config;
  data::CacheForm form;
  fs::path folder;
  const bool take_its_word = as_first_rank_sees(
      process, [&] { return config.cache.mode == "read" && !has_weights(experiment.encoder_folder); }, together);
  together([&] {
    folder = cache_folder(config);
    form = form_without_weights(experiment);
    if (!take_its_word) return;
    form.encoder_weights = data::ActivationCache::read_form(folder).encoder_weights;
    log_warn(experiment.encoder_folder.string() + " holds no weights: that the cache " + folder.string() +
             " was made with them is taken on trust");
  });
  if (!take_its_word) {
    form.encoder_weights = hash_weights(experiment.encoder_folder, folder / "weights.json", process, together);
  }
  return form;
}

std::unique_ptr<model::CachedEncoder> open_cached_encoder(const Experiment& experiment, const dist::ProcessGrid& grid,
                                                          const Together& together,
                                                          std::unique_ptr<data::CacheWriteLock>* lock) {
  const auto& config = experiment.config;
  fs::path folder;
  together([&] { folder = cache_folder(config); });
  const bool is_there = config.cache.mode != "auto" || as_first_rank_sees(
      grid.process.get(), [&] { return fs::exists(folder / "cache.json"); }, together);
  if (!is_there) log_info("cache.mode auto: " + folder.string() + " holds no cache: the encoder's states are computed");
  const auto use = use_of(config.cache.mode);
  if (use.add) together([&] { checkpoints_tools::make_folder(folder); });
  const auto form = is_there ? cache_form(experiment, grid.process.get(), together) : form_without_weights(experiment);
  if (use.add) {
    together([&] {
      if (grid.world_rank != 0) return;
      *lock = std::make_unique<data::CacheWriteLock>(folder);
      if (const auto& warning = (*lock)->warning(); !warning.empty()) log_warn(warning);
      data::ActivationCache::create(folder, form);
    });
  }

  std::unique_ptr<model::CachedEncoder> encoder;
  together([&] {
    const auto on_damage = use.compute ? OnDamage::kPassOver : OnDamage::kRefuse;
    auto cache =
        is_there ? std::make_unique<data::ActivationCache>(folder, form, on_damage) : data::ActivationCache::none(form);
    const auto type = config.parallel.precision == "bfloat16" ? at::kBFloat16 : at::kFloat;
    const auto load = [&experiment, device = grid.device, type] {
      auto loaded = model::load_encoder(experiment.encoder_folder, device, type, experiment.config.model.ignore_fields);
      require_finite(loaded->weights(), experiment.encoder_folder);
      return loaded;
    };
    const auto fingerprint = has_weights(experiment.encoder_folder)
                                 ? checkpoints_tools::WeightFolder(experiment.encoder_folder).fingerprint()
                                 : form.encoder_weights;
    const data::BlockReaderOptions options{.threads = static_cast<int>(config.cache.threads),
                                           .memory_limit_bytes = config.cache.memory_limit.bytes,
                                           .pinned = grid.device.is_cuda()};
    encoder = std::make_unique<model::CachedEncoder>(experiment.encoder, fingerprint, type, grid.device, load,
                                                     std::move(cache), experiment.encoder_layers, use, options);
  });
  together([&] {
    if (grid.process) dist::require_agreement(*grid.process, {{"shards of the cache " + folder.string(), shard_names(encoder->cache())}});
  });
  for (const auto& shard : encoder->cache().passed_over()) {
    log_warn("cache: passed over, its texts are computed: " + shard.problem);
  }
  log_info("cache: " + std::to_string(encoder->cache().texts()) + " texts in " +
           std::to_string(encoder->cache().shards().size()) + " shards of " + folder.string());
  return encoder;
}

}  // namespace layalign::trainer
