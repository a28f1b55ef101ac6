#pragma once

#include "model/transformer_encoder.h"

namespace layalign::model {

/// GPT-2 and mGPT as encoders.
struct Gpt2Config : TransformerConfig {
  bool scale_scores = true;           ///< by 1 / sqrt(head size)
  bool scale_by_layer_index = false;  ///< and by 1 / (layer + 1)

  static Gpt2Config read(HfConfig& config, const std::vector<std::string>& ignored_fields);
};

/// GPT-2's causal pre-norm transformer with learned positions; its products are stored as [in, out].
class Gpt2Encoder : public TransformerEncoder {
 public:
  Gpt2Encoder(const std::filesystem::path& folder, const Gpt2Config& config, at::Device device, at::ScalarType type);

 protected:
  at::Tensor embed(const at::Tensor& ids_S, const std::vector<int64_t>& offsets) const override;
  std::vector<at::Tensor> embedding_weights() const override { return {positions_PD_}; }

 private:
  at::Tensor positions_PD_;
};

}  // namespace layalign::model
