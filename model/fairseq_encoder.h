#pragma once

#include "model/transformer_encoder.h"

namespace layalign::model {

/// The encoder of M2M100 and NLLB (m2m_100), and XGLM, a decoder, as an encoder.
struct FairseqConfig : TransformerConfig {
  bool is_decoder = false;
  bool scale_embedding = true;
  int64_t max_position_embeddings = 0;  ///< rows that the position table begins with; longer samples extend it
  int64_t padding_id = 1;

  static FairseqConfig read(HfConfig& config, const std::vector<std::string>& ignored_fields);
};

/// fairseq's pre-norm transformer: x = embedding * sqrt(D) + sinusoidal position.
/// M2M100 counts positions from padding_id + 1 and passes over padding; XGLM, causal, counts from 2.
class FairseqEncoder : public TransformerEncoder {
 public:
  FairseqEncoder(const std::filesystem::path& folder, const FairseqConfig& config, at::Device device,
                 at::ScalarType type);

 protected:
  at::Tensor embed(const at::Tensor& ids_S, const std::vector<int64_t>& offsets) const override;
  std::vector<at::Tensor> embedding_weights() const override { return {positions_PD_}; }

 private:
  FairseqConfig fairseq_;
  at::Tensor positions_PD_;
};

}  // namespace layalign::model
