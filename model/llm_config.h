#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "model/rope.h"

namespace layalign::model {

/// What the decoder-only LLMs of this project differ in: Llama, Mistral, Qwen2, Qwen3.
struct LlmConfig {
  std::string model_type;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t vocabulary_size = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  bool tied_embeddings = false;
  bool qkv_bias = false;
  bool o_bias = false;
  bool mlp_bias = false;
  bool qk_norm = false;  ///< Qwen3: q and k of each head are normed before the rotation
  std::optional<int64_t> sliding_window;  ///< attention reaches back this many tokens; none: to the first
  RopeConfig rope;
  int64_t bos_id = 0;
  int64_t eos_id = 0;                 ///< ends a target
  std::vector<int64_t> eos_ids;       ///< each of them ends a generated text; eos_id is one of them

  /// Reads `folder`/config.json. `ignored_fields`: model.ignore_fields of the run's config.
  /// Errors: ModelError naming the unsupported field.
  static LlmConfig read(const std::filesystem::path& folder, const std::vector<std::string>& ignored_fields = {});

  /// Makes `id`, the tokenizer's own end token, the one that ends targets; it ends generated texts too.
  void end_targets_with(int64_t id);
  /// Whether a generated text ends with this token.
  bool ends_text(int64_t id) const;

  /// Why the heads cannot be divided among so many ranks, and what to choose; empty where they can.
  std::string tensor_parallel_problem(int64_t tp) const;

  /// Refuses a tensor-parallel size that does not divide the model: heads % tp == 0, and kv heads % tp == 0 or the reverse.
  /// Errors: ConfigError.
  void check_tensor_parallel(const std::filesystem::path& folder, int64_t tp) const;

  /// Refuses a sequence that this program would compute differently from the model: one longer than a sliding window.
  void check_sequence_length(const std::filesystem::path& folder, int64_t tokens) const;

  /// Parameters that one rank of `tp` holds, padding included.
  int64_t parameters(int tp) const;
};

}  // namespace layalign::model
