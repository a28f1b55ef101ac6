#include "model/positions.h"

#include <cmath>
#include <numeric>

namespace layalign::model {

at::Tensor token_positions(const std::vector<int64_t>& offsets, at::Device device) {
  std::vector<int64_t> positions(offsets.back());
  for (size_t i = 1; i < offsets.size(); ++i) {
    std::iota(positions.begin() + offsets[i - 1], positions.begin() + offsets[i], 0);
  }
  return at::tensor(positions, at::kLong).to(device);
}

at::Tensor fairseq_positions(const at::Tensor& ids_S, const std::vector<int64_t>& offsets, int64_t padding_id) {
  const auto counts = ids_S.ne(padding_id).to(at::kLong);
  const auto before = counts.cumsum(0) - counts;  // of the whole packed row
  const auto first_row = at::arange(ids_S.size(0), ids_S.options()) - token_positions(offsets, ids_S.device());
  return (before + counts - before.index_select(0, first_row)) * counts + padding_id;
}

at::Tensor sinusoidal_positions(int64_t rows, int64_t width, int64_t padding_id) {
  const int64_t half = width / 2;
  const auto numbers = [](int64_t count) { return at::arange(count, at::TensorOptions(at::kLong)).to(at::kFloat); };
  const auto frequencies = at::exp(numbers(half) * -(std::log(10000.0) / static_cast<double>(half - 1)));
  const auto angles = numbers(rows).unsqueeze(1) * frequencies.unsqueeze(0);
  auto table = at::constant_pad_nd(at::cat({at::sin(angles), at::cos(angles)}, 1), {0, width % 2});
  if (padding_id < rows) table[padding_id].zero_();
  return table;
}

}  // namespace layalign::model
