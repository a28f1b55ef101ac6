#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "model/work_count.h"

namespace layalign::trainer {

/// What a step does, one after the other.
enum class Phase : uint8_t { kData, kEncoder, kForward, kBackward, kReduce, kUpdate };
constexpr size_t kPhases = 6;
constexpr std::array<const char*, kPhases> kPhaseNames{"data", "encoder", "forward", "backward", "reduce", "update"};
using PhaseSeconds = std::array<double, kPhases>;

/// The collectives of a step on one group: how many, and the bytes that this rank handed in.
struct GroupTraffic {
  int64_t all_reduces = 0, all_gathers = 0;
  int64_t bytes = 0;
};

/// Figures of one step that depend on its samples and the grid alone, not on time. docs/performance.md says how they
/// are counted.
struct StepCounters {
  int64_t encoder_tokens = 0;                ///< of the global batch
  double label_ratio = 0;                    ///< label tokens per LLM token of the global batch
  int64_t llm_rows = 0;                      ///< of this rank's batches
  int64_t padding_rows = 0;                  ///< of these, those that are no token: 0 by packing
  double rank_imbalance = 1;                 ///< LLM tokens of the fullest data-parallel rank over their mean
  int64_t micro_batches = 0;                 ///< of this rank
  model::Flops flops;                        ///< of this rank, by the formulas
  GroupTraffic tp, world;                    ///< of this rank
  int64_t peak_tensor_bytes = 0;             ///< of this rank so far
  std::optional<model::WorkCount> executed;  ///< of this rank, where LibTorch was observed
};

/// Rows that are no token, per row.
inline double padding_ratio(const StepCounters& counters) {
  return counters.llm_rows > 0 ? static_cast<double>(counters.padding_rows) / static_cast<double>(counters.llm_rows)
                               : 0;
}

/// The parts of a step's FLOPs as they are told: the LLM by direction, the others in both.
struct FlopsEntry {
  const char* name;
  model::Part part;
  bool forward = true, backward = true;

  int64_t of(const model::Flops& flops) const {
    const auto i = static_cast<size_t>(part);
    return (forward ? flops.forward[i] : 0) + (backward ? flops.backward[i] : 0);
  }
};
constexpr std::array<FlopsEntry, 8> kFlopsEntries{{{"encoder", model::Part::kEncoder},
                                                   {"llm_forward", model::Part::kLlm, true, false},
                                                   {"llm_backward", model::Part::kLlm, false, true},
                                                   {"mapping", model::Part::kMapping},
                                                   {"aligner", model::Part::kAligner},
                                                   {"fusion", model::Part::kFusion},
                                                   {"lm_head", model::Part::kLoss},
                                                   {"other", model::Part::kOther}}};

}  // namespace layalign::trainer
