#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "model/aligner.h"

namespace layalign::model {

enum class MappingKind { kMlp, kLinear, kNone };
enum class AlignerKind { kLayerWise, kUniformMean, kNone };  ///< kNone: no fusion, so no gates either
enum class GateKind { kScalar, kDynamic, kNone };

/// Kinds and sizes that fix the trainables' names and shapes.
struct TrainableSizes {
  int64_t encoder_layers = 0;   ///< E, encoder layers used
  int64_t language_layers = 0;  ///< L, LLM layers adapted
  int64_t encoder_width = 0;    ///< De
  int64_t llm_width = 0;        ///< D
  bool mlp = false;             ///< structure MLP: the aligner has fc3
  MappingKind mapping = MappingKind::kMlp;
  AlignerKind aligner = AlignerKind::kLayerWise;
  GateKind gate = GateKind::kScalar;
};

/// Names and shapes in the order in which the trainables lie in the flat buffers. The names are this project's file format:
/// mapping.linear{1,2}.{weight,bias}, mapping.end_boundary, aligner.fc{1,2[,3]}.{weight,bias}, gates (dynamic:
/// gates.weight, gates.bias). What a kind does not have is left out.
using TrainableLayout = std::vector<std::pair<std::string, std::vector<int64_t>>>;
TrainableLayout trainable_layout(const TrainableSizes& sizes);

/// All that is trained: float32 masters in one flat buffer, their gradients in another of the same order, so that one
/// all-reduce, one norm and one optimiser call serve them all. The members are views that autograd records.
class Trainables {
 public:
  /// Zeros on `device`; see `initialise`. `riders`: how many scalars may ride along in the all-reduce of the gradients.
  Trainables(const TrainableSizes& sizes, at::Device device, int64_t riders = 0);

  /// Draws new values: linear layers as torch.nn.Linear (uniform in +-1/sqrt(fan in)), end_boundary and all gates zero. The
  /// values depend on the seed alone: they are the same on every rank, device and grid.
  void initialise(uint64_t seed);

  const TrainableSizes& sizes() const { return sizes_; }
  const TrainableLayout& layout() const { return layout_; }
  int64_t size() const { return masters_.numel(); }
  /// Values in the mapping and end_boundary, which lie first. Their gradient is whole on each tensor-parallel rank, that of
  /// the rest is a partial sum.
  int64_t mapping_size() const { return mapping_size_; }

  /// [size], the storage of all members. The optimiser writes it in place, outside of autograd.
  const at::Tensor& masters() const { return masters_; }
  /// [size + riders]: where backward adds the gradients, then the riders.
  const at::Tensor& gradients() const { return gradients_; }
  void zero_gradients();

  Mapping mapping;
  LayerWiseAligner aligner;
  Gates gates;

 private:
  TrainableSizes sizes_;
  TrainableLayout layout_;
  int64_t mapping_size_ = 0;
  at::Tensor masters_, gradients_;
};

}  // namespace layalign::model
