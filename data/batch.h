#pragma once

// Shape letters: B samples, S encoder tokens of all samples, T LLM tokens of all samples, N label tokens of all samples.

#include <ATen/ATen.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/sample.h"

namespace layalign::data {

/// What the LLM reads of a sample.
enum class InputForm {
  kMapped,  ///< [bos, mapped encoder tokens, end_boundary, prompt, target]
  kText,    ///< [bos, prompt, target]
};

/// Samples packed into one long row of tokens, never padded: a sample's result cannot depend on its neighbours.
///
/// The LLM's input of one sample, see InputForm, ends before the last target token: that (eos) is only a label, so no work is
/// spent on it.
struct Batch {
  int64_t samples = 0;
  std::vector<std::string> origins;  ///< [B] the samples' names, for messages

  std::vector<int64_t> source_offsets;  ///< [B+1] first encoder token of each sample
  at::Tensor source_ids_S;              ///< int64

  std::vector<int64_t> llm_offsets;  ///< [B+1] first LLM token of each sample
  at::Tensor positions_T;            ///< int64, counted from each sample's own bos
  at::Tensor token_ids_K;            ///< int64, ids of the rows that are looked up: bos, prompt, target
  /// int64, for each LLM row its row in the concatenation [mapped S; looked up K; end_boundary B]; in text form its row in
  /// those looked up.
  at::Tensor input_rows_T;

  std::vector<int64_t> label_offsets;  ///< [B+1] first label of each sample
  at::Tensor label_rows_N;             ///< int64, the LLM row that predicts each label
  at::Tensor label_ids_N;              ///< int64

  int64_t source_tokens() const { return source_offsets.back(); }
  int64_t llm_tokens() const { return llm_offsets.back(); }
  int64_t label_tokens() const { return label_offsets.back(); }

  /// The same batch with its index tensors on `device`.
  Batch to(at::Device device) const;
};

/// Number of LLM rows that a sample takes in a batch.
int64_t llm_tokens(const Sample& sample, InputForm form = InputForm::kMapped);

/// Packs samples in the order given. `bos_id` is the LLM's.
/// Errors: TORCH_CHECK when a sample has no source or no target token.
Batch pack(std::span<const Sample> samples, int64_t bos_id, InputForm form = InputForm::kMapped);

}  // namespace layalign::data
