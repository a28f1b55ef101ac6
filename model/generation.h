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

/// What was generated for a sample.
struct Continuation {
  std::vector<int64_t> ids;  ///< end with an eos of the LLM unless max_new_tokens came first
  /// Its share of the time: of each step as much as each other sequence in hand, of reading prompts by its tokens. The
  /// shares of a run add up to its time.
  double seconds = 0;
};

/// Generates text with LayAlign: the prompt is read once, then a token a step with keys and values kept (KV cache); the
/// fusion's keys and values are projected once a sample. Batching is continuous: the slot of a finished sample takes
/// the next one. A sample's tokens do not depend on the others beyond rounding. Collectives: on `tp`, as a forward pass
/// has them; every rank of it calls alike and gets the same tokens.
class Generator {
 public:
  /// Keeps references. `encoder_layers`: those that the aligner reads. The LLM alone (text form, no adapted layer) asks
  /// nothing of the encoder.
  Generator(const LayAlign& layalign, const Encoder& encoder, std::vector<int64_t> encoder_layers,
            const dist::Communicator& tp, at::Device device);

  /// Gets each sample's index and what was generated for it when it is finished, in no particular order.
  using Finished = std::function<void(int64_t index, const Continuation& continuation)>;

  /// Generates for those of `samples` (source and prompt; the target is not read) that `indices` names. `draw_keys`: of
  /// each sample, what its draws depend on besides the seed, so that they do not depend on the company it is in; empty:
  /// its index.
  void run(std::span<const data::Sample> samples, std::span<const int64_t> indices, const GenerationOptions& options,
           const Finished& finished, std::span<const uint64_t> draw_keys = {}) const;

 private:
  class Session;

  const LayAlign& layalign_;
  const Encoder& encoder_;
  std::vector<int64_t> encoder_layers_;
  dist::Communicator tp_;
  at::Device device_;
};

}  // namespace layalign::model
