#pragma once

#include "model/encoder.h"
#include "model/hf_config.h"
#include "model/llm.h"

namespace layalign::model {

/// Llama, Mistral, Qwen2 or Qwen3 as an encoder.
struct LlmEncoderConfig {
  EncoderInfo info;
  LlmConfig llm;

  static LlmEncoderConfig read(const HfConfig& config, const std::vector<std::string>& ignored_fields);
};

/// A decoder-only LLM, whole on this rank, as an encoder: its causal states, the last one after the final norm.
class LlmEncoder : public Encoder {
 public:
  LlmEncoder(const std::filesystem::path& folder, const LlmEncoderConfig& config, at::Device device,
             at::ScalarType type);

  const EncoderInfo& info() const override { return info_; }
  at::ScalarType type() const override { return llm_.type(); }
  const std::string& fingerprint() const override { return llm_.fingerprint(); }
  std::vector<at::Tensor> weights() const override { return llm_.weights(); }
  /// Errors: ModelError for a sample longer than info().max_tokens.
  EncoderStates encode(const at::Tensor& ids_S, const std::vector<int64_t>& offsets,
                       const std::vector<int64_t>& layers) const override;

 private:
  EncoderInfo info_;
  Llm llm_;
};

}  // namespace layalign::model
