#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "checkpoints_tools/tensor_map.h"
#include "model/trainables.h"
#include "trainer/checkpoint_place.h"

namespace layalign::trainer {

/// A figure that a run's files hold for some weights.
struct AdapterScore {
  std::string name;    ///< "mgsm_bn", "mgsm", "held-out perplexity (Bengali)"
  std::string metric;  ///< "accuracy" (0 to 1) or "perplexity"
  double value = 0;
  int64_t samples = 0;  ///< 0: not known
};

/// The scores of the weights in the run that they lie in: benchmarks that layalign-eval scored in RUN/evaluation/ with
/// exactly these weights (mode layalign), and the held-out perplexity that summary.json has for the end of a stage.
/// None where there are none, and of other weights none. Errors: CheckpointError for a file of results that cannot be
/// read.
std::vector<AdapterScore> find_scores(const CheckpointPlace& place, const checkpoints_tools::TensorMap& tensors,
                                      const model::TrainableSizes& sizes);

}  // namespace layalign::trainer
