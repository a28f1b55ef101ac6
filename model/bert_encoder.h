#pragma once

#include <optional>

#include "model/transformer_encoder.h"

namespace layalign::model {

/// BERT, RoBERTa and XLM-RoBERTa.
struct BertConfig : TransformerConfig {
  int64_t max_position_embeddings = 0;  ///< rows of the position embedding
  int64_t token_types = 0;
  std::optional<int64_t> padding_id;  ///< where positions are fairseq's (RoBERTa); none: from 0 (BERT)

  static BertConfig read(HfConfig& config, const std::vector<std::string>& ignored_fields);
};

/// BERT's post-norm transformer with learned positions; every token is of type 0.
class BertEncoder : public TransformerEncoder {
 public:
  BertEncoder(const std::filesystem::path& folder, const BertConfig& config, at::Device device, at::ScalarType type);

 protected:
  at::Tensor embed(const at::Tensor& ids_S, const std::vector<int64_t>& offsets) const override;
  std::vector<at::Tensor> embedding_weights() const override {
    return {token_type_D_, positions_PD_, embedding_norm_.weight_D, embedding_norm_.bias_D};
  }

 private:
  std::optional<int64_t> padding_id_;
  at::Tensor token_type_D_, positions_PD_;
  LayerNorm embedding_norm_;
};

}  // namespace layalign::model
