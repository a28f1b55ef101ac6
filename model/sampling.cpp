#include "model/sampling.h"

namespace layalign::model {
namespace {

/// splitmix64, a bijection that scatters neighbouring numbers. Source: Steele, Lea, Flood 2014.
uint64_t scattered(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

}  // namespace

double uniform_draw(uint64_t seed, uint64_t key, int64_t step) {
  const uint64_t bits = scattered(scattered(scattered(seed) + key) + static_cast<uint64_t>(step));
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

std::vector<int64_t> draw_tokens(const at::Tensor& logits_NV, const SamplingOptions& options,
                                 const std::vector<double>& draws) {
  const auto probabilities = at::softmax(logits_NV.to(at::kDouble) / options.temperature, 1);
  const auto [sorted, ids] = probabilities.sort(/*stable=*/true, /*dim=*/1, /*descending=*/true);
  const auto sums = sorted.cumsum(1);
  // A token belongs to the nucleus where those before it have less than top_p together; the likeliest always does.
  const auto kept = (sums - sorted) < options.top_p;
  const auto total = (sorted * kept).sum(1, /*keepdim=*/true);
  const auto targets = at::tensor(draws, at::kDouble).to(logits_NV.device()).unsqueeze(1) * total;
  const auto places = at::logical_and(sums <= targets, kept).sum(1, /*keepdim=*/true).clamp_max(ids.size(1) - 1);
  const auto last_kept = kept.sum(1, /*keepdim=*/true) - 1;
  const auto chosen = ids.gather(1, at::minimum(places, last_kept)).squeeze(1).to(at::kCPU);
  return {chosen.const_data_ptr<int64_t>(), chosen.const_data_ptr<int64_t>() + chosen.numel()};
}

}  // namespace layalign::model
