#include "trainer/frozen_models.h"

#include "dist/agreement.h"
#include "trainer/cached_models.h"
#include "trainer/frozen_check.h"

namespace layalign::trainer {

FrozenModels load_frozen_models(const Experiment& experiment, const dist::ProcessGrid& grid, const Together& together) {
  const auto& config = experiment.config;
  const auto type = config.parallel.precision == "bfloat16" ? at::kBFloat16 : at::kFloat;
  FrozenModels models;
  if (config.cache.mode != "off") {
    auto cached = open_cached_encoder(experiment, grid, together, &models.cache_lock);
    models.cache = cached.get();
    models.encoder = std::move(cached);
  }
  together([&] {
    if (!models.encoder) {
      models.encoder = model::load_encoder(experiment.encoder_folder, grid.device, type, config.model.ignore_fields);
    }
    models.llm = std::make_unique<model::Llm>(experiment.llm_folder, experiment.llm, grid.tp, grid.device, type);
    require_finite(models.encoder->weights(), experiment.encoder_folder);  // of a cache's encoder: once it is loaded
    require_finite(models.llm->weights(), experiment.llm_folder);
  });
  together([&] {
    if (!grid.process) return;
    dist::require_agreement(*grid.process,
                            {{"encoder weights (" + experiment.encoder_folder.string() + ")", models.encoder->fingerprint()},
                             {"LLM weights (" + experiment.llm_folder.string() + ")", models.llm->fingerprint()}});
  });
  return models;
}

}  // namespace layalign::trainer
