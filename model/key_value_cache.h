#pragma once

// Shape letters: N slots in use, K longest of them, G key-value heads of this rank, H query heads, dh head size.

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace layalign::model {

/// Keys and values of sequences that are being generated, by slot and position, for each layer [slots, capacity, G,
/// dh], written in place. A slot is written from position 0 on, so its `length` tokens are its first ones.
class KeyValueCache {
 public:
  /// `options`: type and device.
  KeyValueCache(int64_t layers, int64_t slots, int64_t kv_heads, int64_t head_dim, const at::TensorOptions& options);

  /// A stretch of new tokens of one slot.
  struct Stretch {
    int64_t slot = 0;
    int64_t tokens = 0;
  };

  /// Appends tokens: makes room where needed, after which `write` puts each layer's keys and values there. The
  /// stretches lie one after another in the rows that `write` gets.
  void append(const std::vector<Stretch>& stretches);
  void write(int64_t layer, const at::Tensor& key_TGd, const at::Tensor& value_TGd);

  /// Attention of one query a slot, q_NHd of the slots 0..N-1, to what these hold -> [N, H dh].
  at::Tensor attend(int64_t layer, const at::Tensor& q_NHd, double scale) const;

  int64_t length(int64_t slot) const { return lengths_[slot]; }
  /// Empties a slot; the `last` slot in use takes its place, so that those in use stay the first ones.
  void remove(int64_t slot, int64_t last);

 private:
  struct Layer {
    at::Tensor key, value;  // [slots, capacity, G, dh]
  };
  void reserve(int64_t tokens);
  void update_mask();

  std::vector<Layer> layers_;
  std::vector<int64_t> lengths_;
  at::Tensor places_T_;  // rows of the last append in the flat [slots * capacity]
  at::Tensor mask_;      // [slots, 1, 1, K] of the lengths
};

}  // namespace layalign::model
