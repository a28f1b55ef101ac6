#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/batch.h"
#include "data/sample.h"
#include "dist/communicator.h"
#include "model/encoder.h"

namespace layalign::model {

/// Encodes a batch that every rank of a tensor-parallel group holds: its samples are dealt to the ranks by length, each rank
/// encodes its share and the states are gathered. Every rank returns the states of the whole batch.
/// Errors: DataError with the name of a sample whose states cannot be had.
/// Collectives: one all-gather of [longest share, (E + 1) De]; none in a group of one.
EncoderStates encode_shared(const Encoder& encoder, const data::Batch& batch, const std::vector<int64_t>& layers,
                            const dist::Communicator& tp);

/// Encoder tokens of each sample that this rank encodes in `encode_shared` of such a batch.
std::vector<int64_t> shared_source_tokens(const data::Batch& batch, const dist::Communicator& tp);

/// Announces to the encoder what this rank will encode in `encode_shared` of a batch of these samples.
void expect_shared(const Encoder& encoder, std::span<const data::Sample> samples, const dist::Communicator& tp);

}  // namespace layalign::model
