#include "data/batch.h"

#include <numeric>

namespace layalign::data {
namespace {

at::Tensor tensor_of(const std::vector<int64_t>& values) {
  return at::from_blob(const_cast<int64_t*>(values.data()), {static_cast<int64_t>(values.size())}, at::kLong).clone();
}

/// The rows of a batch while it is being packed.
struct Rows {
  std::vector<int64_t> source_ids, token_ids, positions, label_rows, label_ids;
  /// For each LLM row: which of the three parts it comes from, and its row there.
  enum class Part { kMapped, kToken, kBoundary };
  std::vector<std::pair<Part, int64_t>> inputs;

  void add_token(int64_t id) {
    inputs.emplace_back(Part::kToken, static_cast<int64_t>(token_ids.size()));
    token_ids.push_back(id);
  }

  /// Appends a sample; `boundary` is its index in the batch.
  void add(const Sample& sample, int64_t boundary, int64_t bos_id, InputForm form) {
    const size_t first = inputs.size();
    add_token(bos_id);
    if (form == InputForm::kMapped) {
      for (size_t i = 0; i < sample.source.size(); ++i) {
        inputs.emplace_back(Part::kMapped, static_cast<int64_t>(source_ids.size() + i));
      }
      inputs.emplace_back(Part::kBoundary, boundary);
    }
    source_ids.insert(source_ids.end(), sample.source.begin(), sample.source.end());
    for (int64_t id : sample.prompt) add_token(id);
    for (size_t i = 0; i < sample.target.size(); ++i) {
      label_rows.push_back(static_cast<int64_t>(inputs.size()) - 1);
      label_ids.push_back(sample.target[i]);
      if (i + 1 < sample.target.size()) add_token(sample.target[i]);
    }
    for (size_t row = first; row < inputs.size(); ++row) positions.push_back(static_cast<int64_t>(row - first));
  }

  /// Rows in the concatenation [mapped; tokens; boundaries].
  std::vector<int64_t> input_rows(InputForm form) const {
    const auto mapped = form == InputForm::kMapped ? static_cast<int64_t>(source_ids.size()) : 0;
    const auto tokens = static_cast<int64_t>(token_ids.size());
    std::vector<int64_t> rows;
    rows.reserve(inputs.size());
    for (auto [part, row] : inputs) {
      rows.push_back(part == Part::kMapped ? row : part == Part::kToken ? mapped + row : mapped + tokens + row);
    }
    return rows;
  }
};

}  // namespace

int64_t llm_tokens(const Sample& sample, InputForm form) {
  const size_t mapped = form == InputForm::kMapped ? sample.source.size() + 1 : 0;
  return static_cast<int64_t>(1 + mapped + sample.prompt.size() + sample.target.size() - 1);
}

Batch pack(std::span<const Sample> samples, int64_t bos_id, InputForm form) {
  Batch batch;
  batch.samples = static_cast<int64_t>(samples.size());
  batch.source_offsets = batch.llm_offsets = batch.label_offsets = {0};
  Rows rows;
  for (int64_t i = 0; i < batch.samples; ++i) {
    const Sample& sample = samples[i];
    TORCH_CHECK(!sample.source.empty(), sample.origin, ": the sample has no source token");
    TORCH_CHECK(!sample.target.empty(), sample.origin, ": the sample has no target token");
    rows.add(sample, i, bos_id, form);
    batch.origins.push_back(sample.origin);
    batch.source_offsets.push_back(static_cast<int64_t>(rows.source_ids.size()));
    batch.llm_offsets.push_back(static_cast<int64_t>(rows.inputs.size()));
    batch.label_offsets.push_back(static_cast<int64_t>(rows.label_ids.size()));
  }
  batch.source_ids_S = tensor_of(rows.source_ids);
  batch.positions_T = tensor_of(rows.positions);
  batch.token_ids_K = tensor_of(rows.token_ids);
  batch.input_rows_T = tensor_of(rows.input_rows(form));
  batch.label_rows_N = tensor_of(rows.label_rows);
  batch.label_ids_N = tensor_of(rows.label_ids);
  return batch;
}

Batch Batch::to(at::Device device) const {
  Batch moved = *this;
  for (at::Tensor* tensor : {&moved.source_ids_S, &moved.positions_T, &moved.token_ids_K, &moved.input_rows_T,
                             &moved.label_rows_N, &moved.label_ids_N}) {
    *tensor = tensor->to(device);
  }
  return moved;
}

}  // namespace layalign::data
