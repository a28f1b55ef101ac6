#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/batch.h"
#include "model/encoder.h"
#include "model/layalign.h"
#include "model/llm_config.h"
#include "model/trainables.h"
#include "model/work_count.h"

namespace layalign::model {

/// Tokens of one sample.
struct SampleTokens {
  int64_t source = 0;  ///< S_i: of the encoder
  int64_t llm = 0;     ///< T_i: rows of the LLM
  int64_t label = 0;   ///< N_i
};

/// What the work of a rank follows from.
struct WorkSizes {
  LlmConfig llm;
  EncoderInfo encoder;
  TrainableSizes trainables;
  std::vector<int64_t> language_layers;
  data::InputForm form = data::InputForm::kMapped;
  Recompute recompute = Recompute::kNone;
  int tp = 1;
};

/// Weights of a decoder layer's products that one rank of `tp` holds: q, k, v, o, gate, up, down.
int64_t layer_matrix_parameters(const LlmConfig& llm, int tp);

/// FLOPs of the frozen LLM that MFU counts for each token of it: 4 for each weight of its layers' products (forward and
/// dx; frozen weights have no gradient), of all ranks together.
int64_t mfu_flops_per_token(const LlmConfig& llm);

/// FLOPs of the encoder for these samples' sources.
int64_t encoder_flops(const EncoderInfo& encoder, std::span<const int64_t> source_tokens);

/// FLOPs of one rank for a micro-batch, forward and backward, by the formulas of docs/performance.md; without the
/// encoder, which the ranks of a tensor-parallel group share by samples.
Flops micro_batch_flops(const WorkSizes& sizes, std::span<const SampleTokens> samples);

}  // namespace layalign::model
