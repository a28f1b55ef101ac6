#pragma once

// Shape letters: E encoder layers used, S encoder tokens of all samples, De encoder width.

#include <ATen/ATen.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace layalign::model {

/// What the frozen encoder gives for a packed batch.
struct EncoderStates {
  at::Tensor layers_ESD;  ///< hidden_states[e] of the chosen layers, [E, S, De]
  at::Tensor last_SD;     ///< hidden_states[n], after the final norm, [S, De]
};

/// What a run needs to know of an encoder before its weights are read.
struct EncoderInfo {
  std::string model_type;
  int64_t width = 0;            ///< De
  int64_t depth = 0;            ///< n: hidden_states[0..n]
  int64_t vocabulary_size = 0;
  int64_t parameters = 0;       ///< of the encoder stack and its embedding
  int64_t matrix_parameters = 0;                     ///< of the products that each token goes through
  int64_t attention_width = 0;                       ///< query heads times head size
  bool causal = false;                               ///< a token does not see those after it
  std::optional<int64_t> max_tokens = std::nullopt;  ///< the longest source that it has positions for; none: any

  /// Refuses a source longer than max_tokens. Errors: ModelError.
  void check_source_length(int64_t tokens) const;
};

/// A frozen multilingual encoder in evaluation mode.
class Encoder {
 public:
  virtual ~Encoder() = default;
  virtual const EncoderInfo& info() const = 0;
  /// The type of its states.
  virtual at::ScalarType type() const = 0;
  /// What tells its weights from another's.
  virtual const std::string& fingerprint() const = 0;
  /// Every weight in memory, as it is stored there; of a cache's encoder those of the one behind it, once it is loaded.
  virtual std::vector<at::Tensor> weights() const = 0;

  /// States of a packed batch: ids_S int64, `offsets` [B+1]. `layers`: which of hidden_states[0..n], ascending or not.
  /// Numbered as transformers does: 0 the embedding output, n the last state after the final norm. Without gradient.
  virtual EncoderStates encode(const at::Tensor& ids_S, const std::vector<int64_t>& offsets,
                               const std::vector<int64_t>& layers) const = 0;

  /// Announces texts that will be encoded soon, in this order, so that a cache can read them ahead.
  virtual void expect(const std::vector<std::vector<int64_t>>& sources) const { static_cast<void>(sources); }
};

/// Reads config.json alone. Errors: ModelError naming what is not supported.
EncoderInfo read_encoder_info(const std::filesystem::path& folder, const std::vector<std::string>& ignored_fields = {});

/// Reads the encoder of a model folder, chosen by its model_type: t5, mt5; m2m_100; bert, roberta, xlm-roberta; and the
/// decoder-only xglm, gpt2, llama, mistral, qwen2, qwen3, whose states are causal.
std::unique_ptr<Encoder> load_encoder(const std::filesystem::path& folder, at::Device device, at::ScalarType type,
                                      const std::vector<std::string>& ignored_fields = {});

}  // namespace layalign::model
