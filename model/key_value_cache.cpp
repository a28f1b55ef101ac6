#include "model/key_value_cache.h"

#include <algorithm>
#include <limits>

#include "model/few_rows.h"

namespace layalign::model {

KeyValueCache::KeyValueCache(int64_t layers, int64_t slots, int64_t kv_heads, int64_t head_dim,
                             const at::TensorOptions& options)
    : lengths_(slots, 0) {
  // Zeros: padding is masked, but NaN times zero would not be.
  for (int64_t i = 0; i < layers; ++i) {
    layers_.push_back(
        {at::zeros({slots, 0, kv_heads, head_dim}, options), at::zeros({slots, 0, kv_heads, head_dim}, options)});
  }
}

void KeyValueCache::reserve(int64_t tokens) {
  const int64_t capacity = layers_.empty() ? tokens : layers_[0].key.size(1);
  if (tokens <= capacity) return;
  const int64_t wanted = std::max<int64_t>({64, tokens, capacity + capacity / 2});
  for (auto& layer : layers_) {
    for (at::Tensor* rows : {&layer.key, &layer.value}) {
      auto larger = at::zeros({rows->size(0), wanted, rows->size(2), rows->size(3)}, rows->options());
      larger.narrow(1, 0, capacity).copy_(*rows);
      *rows = larger;
    }
  }
}

void KeyValueCache::append(const std::vector<Stretch>& stretches) {
  int64_t longest = 0;
  for (const auto& stretch : stretches) longest = std::max(longest, lengths_[stretch.slot] + stretch.tokens);
  reserve(longest);
  if (layers_.empty()) return;
  const int64_t capacity = layers_[0].key.size(1);
  std::vector<int64_t> places;
  for (const auto& [slot, tokens] : stretches) {
    for (int64_t i = 0; i < tokens; ++i) places.push_back(slot * capacity + lengths_[slot] + i);
    lengths_[slot] += tokens;
  }
  places_T_ = at::tensor(places, at::kLong).to(layers_[0].key.device());
  update_mask();
}

void KeyValueCache::update_mask() {
  const auto options = layers_[0].key.options();
  const auto lengths = at::tensor(lengths_, at::kLong).to(options.device());
  const int64_t K = *std::max_element(lengths_.begin(), lengths_.end());
  const auto padding = at::arange(K, lengths.options()).unsqueeze(0) >= lengths.unsqueeze(1);
  mask_ = at::zeros({lengths.size(0), K}, options).masked_fill_(padding, -std::numeric_limits<float>::infinity());
  mask_ = mask_.unsqueeze(1).unsqueeze(1);
}

void KeyValueCache::write(int64_t layer, const at::Tensor& key_TGd, const at::Tensor& value_TGd) {
  layers_[layer].key.flatten(0, 1).index_copy_(0, places_T_, key_TGd);
  layers_[layer].value.flatten(0, 1).index_copy_(0, places_T_, value_TGd);
}

at::Tensor KeyValueCache::attend(int64_t layer, const at::Tensor& q_NHd, double scale) const {
  const int64_t N = q_NHd.size(0);
  const auto& [key, value] = layers_[layer];
  return single_query_attention(q_NHd, key.narrow(0, 0, N), value.narrow(0, 0, N), lengths_, mask_.narrow(0, 0, N), scale);
}

void KeyValueCache::remove(int64_t slot, int64_t last) {
  if (slot != last) {
    for (auto& layer : layers_) {
      for (const auto& rows : {layer.key, layer.value}) rows.select(0, slot).copy_(rows.select(0, last));
    }
  }
  lengths_[slot] = lengths_[last];
  lengths_[last] = 0;
  if (!layers_.empty()) update_mask();
}

}  // namespace layalign::model
