#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace layalign::model {

/// What the matrix products of a step are counted by.
enum class Part : uint8_t {
  kOther,    ///< outside of the parts below: the trainer's own work
  kEncoder,  ///< the frozen encoder
  kLlm,      ///< the layers of the frozen LLM, with their self-attention
  kMapping,  ///< the trained mapping
  kAligner,  ///< fc1, fc2, fc3
  kFusion,   ///< the frozen projections of the aligner's states, attention to them, a dynamic gate
  kLoss,     ///< lm_head, in both directions
};
constexpr size_t kParts = 7;
constexpr std::array<const char*, kParts> kPartNames{"other",   "encoder", "llm",    "mapping",
                                                     "aligner", "fusion",  "lm_head"};

/// FLOPs of matrix products and of attention's two products: 2 for each multiplication with its addition. Attention's
/// backward counts as flash attention does it, 2.5 times its forward; causal attention by the pairs of tokens that see
/// each other.
struct Flops {
  std::array<int64_t, kParts> forward{};
  std::array<int64_t, kParts> backward{};  ///< with what is computed again there

  int64_t of(Part part) const { return forward[static_cast<size_t>(part)] + backward[static_cast<size_t>(part)]; }
  int64_t total() const {
    int64_t sum = 0;
    for (size_t i = 0; i < kParts; ++i) sum += forward[i] + backward[i];
    return sum;
  }
  Flops& operator+=(const Flops& other) {
    for (size_t i = 0; i < kParts; ++i) forward[i] += other.forward[i], backward[i] += other.backward[i];
    return *this;
  }
};

/// What was really done.
struct WorkCount {
  Flops flops;
  int64_t operators = 0;  ///< of LibTorch, that our code or a node of backward called; not those within others
  /// Read and written by all that is no product: norms, sums, copies, softmax, the optimiser. By the sizes of what an operator or a
  /// kernel of our own is called with and gives; of a table, as much as is looked up.
  int64_t moved_bytes = 0;
  int64_t host_syncs =
      0;  ///< times that the host waits for the device; on a CPU our own reads, which would wait on a GPU
};

}  // namespace layalign::model
