#include "model/shared_encoding.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <numeric>

#include "data/error.h"
#include "data/plan.h"
#include "model/error.h"
#include "model/work_counter.h"

namespace layalign::model {
namespace {

/// Which tokens of the batch a rank encodes.
struct Share {
  std::vector<int64_t> samples;        ///< of the batch
  std::vector<int64_t> offsets = {0};  ///< of the rank's samples in its own packed row
  std::vector<int64_t> rows;           ///< the batch row of each of its tokens
};

std::vector<Share> shares_of(const std::vector<int64_t>& offsets, int ranks) {
  std::vector<int64_t> lengths;
  for (size_t i = 1; i < offsets.size(); ++i) lengths.push_back(offsets[i] - offsets[i - 1]);
  std::vector<Share> shares;
  for (auto& samples : data::deal_by_cost(lengths, ranks)) {
    Share share;
    for (int64_t sample : samples) {
      for (int64_t row = offsets[sample]; row < offsets[sample + 1]; ++row) share.rows.push_back(row);
      share.offsets.push_back(static_cast<int64_t>(share.rows.size()));
    }
    share.samples = std::move(samples);
    shares.push_back(std::move(share));
  }
  return shares;
}

/// Encodes, and gives an error of a sample its name. `samples`: those of the batch that are encoded, in order.
EncoderStates encode_named(const Encoder& encoder, const at::Tensor& ids_S, const Share& share,
                           const std::vector<int64_t>& layers, const data::Batch& batch) {
  try {
    return encoder.encode(ids_S, share.offsets, layers);
  } catch (const StatesError& error) {
    throw data::DataError(batch.origins[share.samples[error.sample()]] + ": " + error.what());
  }
}

at::Tensor index_tensor(const std::vector<int64_t>& rows, at::Device device) {
  return at::tensor(rows, at::kLong).to(device);
}

}  // namespace

EncoderStates encode_shared(const Encoder& encoder, const data::Batch& batch, const std::vector<int64_t>& layers,
                            const dist::Communicator& tp) {
  const PartScope part(Part::kEncoder);
  if (tp.size() == 1) {
    Share all;
    all.samples.resize(batch.samples);
    std::iota(all.samples.begin(), all.samples.end(), 0);
    all.offsets = batch.source_offsets;
    return encode_named(encoder, batch.source_ids_S, all, layers, batch);
  }
  at::NoGradGuard no_grad;
  const auto device = batch.source_ids_S.device();
  const auto shares = shares_of(batch.source_offsets, tp.size());
  size_t longest = 0;
  for (const auto& share : shares) longest = std::max(longest, share.rows.size());

  // All states of a token lie together, so that one equal-sized gather serves shares of different lengths.
  const int64_t E = static_cast<int64_t>(layers.size()), De = encoder.info().width;
  const auto& mine = shares[tp.rank()];
  auto local = at::zeros({static_cast<int64_t>(longest), E + 1, De}, at::TensorOptions(device).dtype(encoder.type()));
  if (!mine.rows.empty()) {
    const auto ids = batch.source_ids_S.index_select(0, index_tensor(mine.rows, device));
    const auto states = encode_named(encoder, ids, mine, layers, batch);
    auto filled = local.narrow(0, 0, static_cast<int64_t>(mine.rows.size()));
    filled.narrow(1, 0, E).copy_(states.layers_ESD.transpose(0, 1));
    filled.select(1, E).copy_(states.last_SD);
  }
  const auto gathered = tp.all_gather(local).flatten(0, 1);  // [tp * longest, E + 1, De]

  std::vector<int64_t> source(batch.source_tokens());
  for (size_t rank = 0; rank < shares.size(); ++rank) {
    for (size_t i = 0; i < shares[rank].rows.size(); ++i) {
      source[shares[rank].rows[i]] = static_cast<int64_t>(rank * longest + i);
    }
  }
  const auto states = gathered.index_select(0, index_tensor(source, device)).transpose(0, 1).contiguous();
  return {states.narrow(0, 0, E), states.select(0, E)};
}

std::vector<int64_t> shared_source_tokens(const data::Batch& batch, const dist::Communicator& tp) {
  const auto share = shares_of(batch.source_offsets, tp.size())[tp.rank()];
  std::vector<int64_t> tokens;
  for (size_t i = 1; i < share.offsets.size(); ++i) tokens.push_back(share.offsets[i] - share.offsets[i - 1]);
  return tokens;
}

void expect_shared(const Encoder& encoder, std::span<const data::Sample> samples, const dist::Communicator& tp) {
  std::vector<int64_t> lengths;
  for (const auto& sample : samples) lengths.push_back(static_cast<int64_t>(sample.source.size()));
  const auto shares = data::deal_by_cost(lengths, tp.size());
  std::vector<std::vector<int64_t>> sources;
  for (int64_t index : shares[tp.rank()]) sources.push_back(samples[index].source);
  encoder.expect(sources);
}

}  // namespace layalign::model
