#pragma once

// Shape letters: De encoder width, R bytes of a row.

#include <ATen/ATen.h>

#include <cstdint>

#include "data/activation_cache/cache_form.h"

namespace layalign::data {

/// States as they are stored: [..., De] floating point -> uint8 [..., R], on the same device.
/// float8: numbers e4m3 (of torch.float8_e4m3fn, round to nearest even); a scale is one byte b (E8M0 of the OCP MX
/// formats), 2^(b - 127): the smallest power of two, at least 2^-126, with which no number of the group exceeds 464,
/// which rounds to 448, the largest; 127 where all numbers of the group round to 0. So a number is at most 1/16 of
/// itself off, or 2^-10 of the scale where that is more, and what was decoded is encoded as the same bytes. Errors:
/// DataError for NaN, infinity, or a number that the dtype does not hold.
at::Tensor encode_rows(const at::Tensor& states, CacheDtype dtype);

/// The way back: uint8 [..., R] -> [..., De] of `type`, on the same device. Where `type` is the stored one, the result
/// shares the memory of `rows`.
at::Tensor decode_rows(const at::Tensor& rows, CacheDtype dtype, int64_t width, at::ScalarType type);

}  // namespace layalign::data
