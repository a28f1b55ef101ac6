#pragma once

// Shape letters: E encoder layers used, S encoder tokens of all samples, De encoder width.

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/activation_cache/activation_cache.h"
#include "data/activation_cache/block_reader.h"
#include "model/encoder.h"

namespace layalign::model {

/// Where the states of a text come from, and whether new ones are kept.
struct CacheUse {
  bool read = true;     ///< what is cached is read
  bool compute = true;  ///< what is not read is computed; else it is an error
  bool add = false;     ///< what was computed and is not cached is added
  bool timed = false;   ///< `CacheTraffic`'s seconds include the work of a GPU: each call waits for it
};

/// What a CachedEncoder has done so far.
struct CacheTraffic {
  int64_t read_texts = 0, read_tokens = 0;
  int64_t computed_texts = 0, computed_tokens = 0;
  int64_t added_texts = 0;
  int64_t damaged_texts = 0;  ///< of those computed: the cache could not give them
  std::string first_damage;   ///< why not, of the first one
  int64_t read_bytes = 0;
  double read_s = 0;     ///< waiting for blocks and putting them together
  double compute_s = 0;  ///< in the encoder
};

/// An encoder before which stands an activation cache: states are read where they are cached and computed where not.
///
/// Computed states are rounded as the cache would store them, so that a result does not depend on what was cached. The encoder
/// itself is loaded when the first text has to be computed.
/// Threads: one at a time.
class CachedEncoder : public Encoder {
 public:
  /// Loads the encoder that stands behind.
  using Load = std::function<std::unique_ptr<Encoder>()>;

  /// `info`, `fingerprint`: of the encoder. `layers`: of hidden_states[0..n], those that `encode` will be asked for.
  /// States are of `type` on `device`. The memory limit of `options` is that of all: of what is read ahead, kept for the next
  /// batches, and was added and is not yet written. Errors: DataError where the cache lacks a layer.
  CachedEncoder(EncoderInfo info, std::string fingerprint, at::ScalarType type, at::Device device, Load load,
                std::unique_ptr<data::ActivationCache> cache, std::vector<int64_t> layers, CacheUse use,
                const data::BlockReaderOptions& options);
  ~CachedEncoder() override;

  const EncoderInfo& info() const override { return info_; }
  at::ScalarType type() const override { return type_; }
  const std::string& fingerprint() const override { return fingerprint_; }
  std::vector<at::Tensor> weights() const override;

  /// As Encoder::encode. States that are found damaged are computed and, where states are added, added again.
  /// Errors: StatesError (model/error.h); IoError where the system does not read the cache and nothing may be computed.
  EncoderStates encode(const at::Tensor& ids_S, const std::vector<int64_t>& offsets,
                       const std::vector<int64_t>& layers) const override;

  /// Reads the blocks of these texts ahead.
  void expect(const std::vector<std::vector<int64_t>>& sources) const override;

  const CacheUse& use() const { return use_; }
  /// From now on. What was announced and will not be read is forgotten.
  void set_use(const CacheUse& use);

  /// Writes the states that were added and are still in memory, and opens what has been added by others. Where that fails (a full
  /// disk), they are dropped and nothing more is added: `adding_ended_by` says why, and the encoder goes on.
  void commit() const;

  /// Why states are no longer added; empty where they are.
  const std::string& adding_ended_by() const;

  const data::ActivationCache& cache() const { return *cache_; }
  const CacheTraffic& traffic() const;

 private:
  struct State;
  struct Text;
  struct Part;

  const Encoder& encoder() const;
  std::vector<Text> texts_of(const at::Tensor& ids_S, const std::vector<int64_t>& offsets) const;
  Part read(const std::vector<Text>& texts, const std::vector<size_t>& wanted, std::vector<size_t>* damaged) const;
  Part compute(const std::vector<Text>& texts, const std::vector<size_t>& wanted) const;
  /// The states as the cache would give them back, and adds them where states are added. Those that cannot be stored (NaN, infinity)
  /// stay as they are: who computes with them notices, as without a cache.
  at::Tensor as_stored(const at::Tensor& states_PSD, const std::vector<Text>& texts, const std::vector<size_t>& wanted) const;
  void add(const Text& text, const at::Tensor& rows_PSR) const;
  void write_added() const;
  bool is_lossless() const;

  EncoderInfo info_;
  std::string fingerprint_;
  at::ScalarType type_;
  at::Device device_;
  Load load_;
  std::unique_ptr<data::ActivationCache> cache_;
  std::vector<int64_t> layers_;
  std::vector<int64_t> planes_;  // of the cache: those of layers_, then the last
  CacheUse use_;
  int64_t added_limit_bytes_;
  std::unique_ptr<State> state_;
};

}  // namespace layalign::model
