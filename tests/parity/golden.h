#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoints_tools/safetensors.h"
#include "data/sample.h"
#include "dist/process_grid.h"
#include "model/layalign.h"
#include "model/shared_encoding.h"
#include "trainer/train_step.h"

namespace layalign::test {

/// One golden file of tests/data/golden: what the reference computed in PyTorch for these models and samples.
class Golden {
 public:
  explicit Golden(const std::string& name);

  at::Tensor tensor(const std::string& name) const { return file_.read(name); }
  bool contains(const std::string& name) const { return file_.contains(name); }
  /// Values of the trainables in the order of the flat buffer, from `prefix` init, grad or final.
  at::Tensor flat(const std::string& prefix, const model::TrainableLayout& layout) const;

  std::string encoder_folder, llm_folder;
  model::TrainableSizes sizes;  ///< its kinds; the widths come from the models
  std::vector<int64_t> encoder_layers, language_layers;
  std::vector<data::Sample> samples;
  double lr = 0, eps = 0;

 private:
  checkpoints_tools::SafetensorsFile file_;
};

/// The models of a golden file, on a grid.
struct System {
  System(const Golden& golden, const dist::ProcessGrid& grid, model::Recompute recompute = model::Recompute::kNone,
         at::ScalarType type = at::kFloat);

  trainer::Models models() const { return {*encoder, *llm, *layalign, *trainables, encoder_layers}; }

  std::vector<int64_t> encoder_layers;
  std::unique_ptr<model::Encoder> encoder;
  std::unique_ptr<model::Llm> llm;
  std::unique_ptr<model::Trainables> trainables;
  std::unique_ptr<model::LayAlign> layalign;
};

/// Largest difference, as a fraction of the largest entry of `expected`.
double relative_error(const at::Tensor& got, const at::Tensor& expected);

}  // namespace layalign::test
