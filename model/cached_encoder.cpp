#include "model/cached_encoder.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <optional>
#include <unordered_set>

#include "checkpoints_tools/error.h"
#include "data/activation_cache/state_codec.h"
#include "data/error.h"
#include "model/clock.h"
#include "model/error.h"

namespace layalign::model {
namespace {

/// Where hidden_states[layer] lies in the blocks of a cache.
int64_t plane_of(int64_t layer, const data::ActivationCache& cache) {
  const auto& stored = cache.form().layers;
  const auto found = std::find(stored.begin(), stored.end(), layer);
  if (found == stored.end()) {
    throw data::DataError(cache.folder().string() + ": this cache does not hold layer " + std::to_string(layer) +
                          " of the encoder, which model.encoder_layers asks for; build one with cache.layers: all");
  }
  return found - stored.begin();
}

/// Throws the error of a text that could not be read: IoError as it is, another as a StatesError.
[[noreturn]] void refuse(size_t text, const std::exception_ptr& problem) {
  try {
    std::rethrow_exception(problem);
  } catch (const checkpoints_tools::IoError&) {
    throw;
  } catch (const std::exception& error) {
    throw StatesError(text, std::string("its encoder states cannot be read: ") + error.what());
  }
}

std::string reason_of(const std::exception_ptr& problem) {
  try {
    std::rethrow_exception(problem);
  } catch (const std::exception& error) {
    return error.what();
  }
}

}  // namespace

/// One text of a packed batch.
struct CachedEncoder::Text {
  std::vector<int64_t> ids;
  int64_t begin = 0;  // its first row in the batch
  data::CacheKey key;
  std::optional<data::CachedText> place;  // where it lies whole, as far as is known

  int64_t tokens() const { return static_cast<int64_t>(ids.size()); }
};

/// The states of some texts of a batch, one behind the other.
struct CachedEncoder::Part {
  at::Tensor states_QSD;      // the layers that were asked for at construction, then the last; undefined: no text
  std::vector<int64_t> rows;  // the row of the batch that each of its rows belongs to; -1: to none

  void append(const Text& text, bool valid) {
    for (int64_t i = 0; i < text.tokens(); ++i) rows.push_back(valid ? text.begin + i : -1);
  }
};

struct CachedEncoder::State {
  std::unique_ptr<Encoder> encoder;
  std::unique_ptr<data::BlockReader> reader;
  std::vector<std::vector<int64_t>> added_ids;  // waiting to be written
  std::vector<at::Tensor> added_rows;
  std::unordered_set<data::CacheKey> added_keys;
  int64_t added_bytes = 0;
  std::string adding_ended_by;
  CacheTraffic traffic;
};

CachedEncoder::CachedEncoder(EncoderInfo info, std::string fingerprint, at::ScalarType type, at::Device device, Load load,
                             std::unique_ptr<data::ActivationCache> cache, std::vector<int64_t> layers, CacheUse use,
                             const data::BlockReaderOptions& options)
    : info_(std::move(info)),
      fingerprint_(std::move(fingerprint)),
      type_(type),
      device_(device),
      load_(std::move(load)),
      cache_(std::move(cache)),
      layers_(std::move(layers)),
      use_(use),
      added_limit_bytes_(options.memory_limit_bytes / 2),
      state_(std::make_unique<State>()) {
  for (int64_t layer : layers_) planes_.push_back(plane_of(layer, *cache_));
  planes_.push_back(plane_of(info_.depth, *cache_));
  auto reading = options;
  reading.memory_limit_bytes = (options.memory_limit_bytes - (use_.add ? added_limit_bytes_ : 0)) / 5 * 4;  // it keeps a quarter more
  state_->reader = std::make_unique<data::BlockReader>(*cache_, planes_, reading);
}

CachedEncoder::~CachedEncoder() = default;

void CachedEncoder::set_use(const CacheUse& use) {
  if (use_.read && !use.read) state_->reader->forget();
  use_ = use;
}

const std::string& CachedEncoder::adding_ended_by() const { return state_->adding_ended_by; }

const CacheTraffic& CachedEncoder::traffic() const {
  state_->traffic.read_bytes = state_->reader->bytes_read();
  return state_->traffic;
}

const Encoder& CachedEncoder::encoder() const {
  if (!state_->encoder) state_->encoder = load_();
  return *state_->encoder;
}

std::vector<at::Tensor> CachedEncoder::weights() const {
  return state_->encoder ? state_->encoder->weights() : std::vector<at::Tensor>();
}

bool CachedEncoder::is_lossless() const {
  const auto dtype = cache_->form().dtype;
  return dtype == data::CacheDtype::kFloat32 || (dtype == data::CacheDtype::kBfloat16 && type_ == at::kBFloat16);
}

void CachedEncoder::expect(const std::vector<std::vector<int64_t>>& sources) const {
  if (!use_.read) return;
  std::vector<data::CachedText> places;
  for (const auto& ids : sources) {
    if (const auto place = cache_->find(data::cache_key(ids))) places.push_back(*place);
  }
  state_->reader->expect(places);
}

std::vector<CachedEncoder::Text> CachedEncoder::texts_of(const at::Tensor& ids_S, const std::vector<int64_t>& offsets) const {
  const auto host = ids_S.to(at::kCPU).contiguous();
  const auto* ids = host.const_data_ptr<int64_t>();
  std::vector<Text> texts;
  for (size_t i = 1; i < offsets.size(); ++i) {
    Text text{{ids + offsets[i - 1], ids + offsets[i]}, offsets[i - 1], {}, {}};
    text.key = data::cache_key(text.ids);
    text.place = cache_->find(text.key);
    texts.push_back(std::move(text));
  }
  return texts;
}

EncoderStates CachedEncoder::encode(const at::Tensor& ids_S, const std::vector<int64_t>& offsets,
                                    const std::vector<int64_t>& layers) const {
  at::NoGradGuard no_grad;
  if (!use_.read && !use_.add && !use_.timed && is_lossless()) {
    state_->traffic.computed_texts += static_cast<int64_t>(offsets.size()) - 1;
    state_->traffic.computed_tokens += offsets.back();
    return encoder().encode(ids_S, offsets, layers);
  }
  auto texts = texts_of(ids_S, offsets);
  std::vector<size_t> to_read, to_compute;
  for (size_t i = 0; i < texts.size(); ++i) (use_.read && texts[i].place ? to_read : to_compute).push_back(i);
  if (!to_compute.empty() && !use_.compute) {
    throw StatesError(to_compute[0], "its encoder states are not in the cache " + cache_->folder().string() +
                                         " (" + std::to_string(texts[to_compute[0]].tokens()) +
                                         " tokens): run layalign-cache build, or set cache.mode: read_write");
  }

  std::vector<size_t> damaged;
  const Part read_part = read(texts, to_read, &damaged);
  for (size_t i : damaged) {
    texts[i].place.reset();
    to_compute.push_back(i);
  }
  const Part computed_part = compute(texts, to_compute);
  at::Tensor states_QSD = read_part.rows.empty() ? computed_part.states_QSD : read_part.states_QSD;
  const bool in_order = read_part.rows.empty() || to_compute.empty();
  if (!in_order) {
    std::vector<int64_t> source(offsets.back());
    const auto first = static_cast<int64_t>(read_part.rows.size());
    for (int64_t i = 0; i < first; ++i) {
      if (read_part.rows[i] >= 0) source[read_part.rows[i]] = i;
    }
    for (size_t i = 0; i < computed_part.rows.size(); ++i) source[computed_part.rows[i]] = first + static_cast<int64_t>(i);
    states_QSD = at::cat({read_part.states_QSD, computed_part.states_QSD}, 1)
                     .index_select(1, at::tensor(source, at::kLong).to(device_));
  }

  const auto Q = static_cast<int64_t>(planes_.size());
  const auto last_SD = states_QSD.select(0, Q - 1);
  if (layers == layers_) return {states_QSD.narrow(0, 0, Q - 1), last_SD};
  std::vector<int64_t> chosen;
  for (int64_t layer : layers) {
    const auto found = std::find(layers_.begin(), layers_.end(), layer);
    TORCH_CHECK(found != layers_.end() || layer == info_.depth, "layer ", layer, " was not announced to the cached encoder");
    chosen.push_back(found - layers_.begin());
  }
  return {states_QSD.index_select(0, at::tensor(chosen, at::kLong).to(device_)), last_SD};
}

CachedEncoder::Part CachedEncoder::read(const std::vector<Text>& texts, const std::vector<size_t>& wanted,
                                        std::vector<size_t>* damaged) const {
  Part part;
  if (wanted.empty()) return part;
  const auto start = Clock::now();
  std::vector<data::CachedText> places;
  for (size_t i : wanted) places.push_back(*texts[i].place);
  const auto blocks = state_->reader->take(places);
  std::vector<bool> valid(wanted.size(), true);
  for (const auto& [position, problem] : blocks.damaged) {
    if (!use_.compute) refuse(wanted[position], problem);
    valid[position] = false;
    damaged->push_back(wanted[position]);
    if (state_->traffic.damaged_texts++ == 0) state_->traffic.first_damage = reason_of(problem);
  }
  for (size_t i = 0; i < wanted.size(); ++i) {
    part.append(texts[wanted[i]], valid[i]);
    if (!valid[i]) continue;
    ++state_->traffic.read_texts;
    state_->traffic.read_tokens += texts[wanted[i]].tokens();
  }
  const auto rows = blocks.rows_PSR.to(device_, /*non_blocking=*/true);
  part.states_QSD = data::decode_rows(rows, cache_->form().dtype, info_.width, type_);
  if (use_.timed) part.states_QSD.view(-1)[0].item();
  state_->traffic.read_s += seconds_since(start);
  return part;
}

CachedEncoder::Part CachedEncoder::compute(const std::vector<Text>& texts, const std::vector<size_t>& wanted) const {
  Part part;
  if (wanted.empty()) return part;
  const auto start = Clock::now();
  std::vector<int64_t> ids, offsets = {0};
  for (size_t i : wanted) {
    ids.insert(ids.end(), texts[i].ids.begin(), texts[i].ids.end());
    offsets.push_back(static_cast<int64_t>(ids.size()));
    part.append(texts[i], true);
  }
  auto layers = layers_;
  if (use_.add) layers.assign(cache_->form().layers.begin(), cache_->form().layers.end() - 1);
  const auto states = encoder().encode(at::tensor(ids, at::kLong).to(device_), offsets, layers);
  part.states_QSD = at::cat({states.layers_ESD, states.last_SD.unsqueeze(0)});
  if (use_.add || !is_lossless()) part.states_QSD = as_stored(part.states_QSD, texts, wanted);
  if (use_.add) part.states_QSD = part.states_QSD.index_select(0, at::tensor(planes_, at::kLong).to(device_));
  if (use_.timed) part.states_QSD.view(-1)[0].item();
  state_->traffic.computed_texts += static_cast<int64_t>(wanted.size());
  state_->traffic.computed_tokens += offsets.back();
  state_->traffic.compute_s += seconds_since(start);
  return part;
}

at::Tensor CachedEncoder::as_stored(const at::Tensor& states_PSD, const std::vector<Text>& texts,
                                    const std::vector<size_t>& wanted) const {
  const auto dtype = cache_->form().dtype;
  at::Tensor rows;
  try {
    rows = data::encode_rows(states_PSD, dtype);
  } catch (const data::DataError&) {
    if (wanted.size() == 1) return states_PSD;
    std::vector<at::Tensor> parts;  // those of the others are not to blame
    int64_t begin = 0;
    for (const size_t i : wanted) {
      parts.push_back(as_stored(states_PSD.narrow(1, begin, texts[i].tokens()), texts, {i}));
      begin += texts[i].tokens();
    }
    return at::cat(parts, 1);
  }
  int64_t begin = 0;
  for (const size_t i : wanted) {
    if (use_.add) add(texts[i], rows.narrow(1, begin, texts[i].tokens()));
    begin += texts[i].tokens();
  }
  return is_lossless() ? states_PSD : data::decode_rows(rows, dtype, info_.width, type_);
}

void CachedEncoder::add(const Text& text, const at::Tensor& rows_PSR) const {
  if (text.place || !state_->adding_ended_by.empty() || !state_->added_keys.insert(text.key).second) return;
  state_->added_ids.push_back(text.ids);
  state_->added_rows.push_back(rows_PSR.to(at::kCPU).contiguous());
  state_->added_bytes += static_cast<int64_t>(state_->added_rows.back().nbytes());
  if (state_->added_bytes >= added_limit_bytes_) commit();
}

void CachedEncoder::commit() const {
  if (!use_.add || !state_->adding_ended_by.empty()) return;
  State& state = *state_;
  try {
    write_added();
  } catch (const checkpoints_tools::IoError& error) {
    state.adding_ended_by = error.what();
  } catch (const data::DataError& error) {  // the folder has gone, for example
    state.adding_ended_by = error.what();
  }
  if (use_.read) state.reader->forget();  // what was announced may lie elsewhere now
  state.added_ids.clear();
  state.added_rows.clear();
  state.added_keys.clear();
  state.added_bytes = 0;
}

void CachedEncoder::write_added() const {
  State& state = *state_;
  if (!state.added_ids.empty()) {
    data::ShardWriter shard(cache_->folder(), cache_->form(), state.added_ids);
    for (size_t i = 0; i < state.added_rows.size(); ++i) shard.write(static_cast<int64_t>(i), state.added_rows[i]);
    shard.commit();
    state.traffic.added_texts += static_cast<int64_t>(state.added_ids.size());
  }
  cache_->refresh();
}

}  // namespace layalign::model
