#pragma once

#include <cstdint>
#include <span>

#include "model/work_formula.h"

namespace layalign::model {

/// Bytes that one rank's tensors hold for a micro-batch, beside the weights.
struct MicroBatchMemory {
  int64_t states = 0;       ///< of the encoder, until the end of backward
  int64_t activations = 0;  ///< kept for backward
  int64_t loss = 0;         ///< logits of a chunk and the gradient of the hidden rows, while the loss is computed
  int64_t backward = 0;     ///< what the backward of one layer holds beside what was kept

  /// The most that is held at once.
  int64_t peak() const { return states + activations + (loss > backward ? loss : backward); }
};

/// `type_bytes`: of a value of the frozen models, 4 or 2. docs/performance.md has the formulas.
MicroBatchMemory micro_batch_memory(const WorkSizes& sizes, int64_t type_bytes, std::span<const SampleTokens> samples);

}  // namespace layalign::model
