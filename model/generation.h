#pragma once

// Shape letters: N sequences that are being generated, D LLM width.

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "data/sample.h"
#include "dist/communicator.h"
#include "model/encoder.h"
#include "model/layalign.h"
#include "model/sampling.h"

namespace layalign::model {

struct GenerationOptions {
  int64_t max_new_tokens = 512;
  int64_t batch = 8;  ///< sequences at once: memory and speed, not results
  SamplingOptions sampling;
};

/// Generates text with LayAlign: the prompt is read once, then a token a step with keys and values kept (KV cache); the
/// fusion's keys and values are projected once a sample. Batching is continuous: the slot of a finished sample takes the
/// next one. A sample's tokens do not depend on the others beyond rounding.
/// Collectives: on `tp`, as a forward pass has them; every rank of it calls alike and gets the same tokens.
class Generator {
 public:
  /// Keeps references. `encoder_layers`: those that the aligner reads. The LLM alone (text form, no adapted layer) asks nothing
  /// of the encoder.
  Generator(const LayAlign& layalign, const Encoder& encoder, std::vector<int64_t> encoder_layers,
            const dist::Communicator& tp, at::Device device);

  /// Gets each sample's index and tokens when it is finished, in no particular order. The tokens end with the LLM's eos
  /// unless max_new_tokens came first.
  using Finished = std::function<void(int64_t index, const std::vector<int64_t>& ids)>;

  /// Generates for those of `samples` (source and prompt; the target is not read) that `indices` names. An index also seeds
  /// the draws of its sample, so that these do not depend on how samples are dealt to ranks.
  void run(std::span<const data::Sample> samples, std::span<const int64_t> indices, const GenerationOptions& options,
           const Finished& finished) const;

 private:
  class Session;

  const LayAlign& layalign_;
  const Encoder& encoder_;
  std::vector<int64_t> encoder_layers_;
  dist::Communicator tp_;
  at::Device device_;
};

}  // namespace layalign::model
