#pragma once

#include <ATen/ATen.h>

#include <cstdint>

#include "dist/process.h"

namespace layalign::trainer {

/// Compares the trained weights, float32 [P] on any device, of all ranks by hash after `step`: they take the same updates, so the bits
/// are the same as long as every machine computes rightly.
/// Collectives: a gather on the control channel. Errors: dist::CommError, on all ranks, naming the ranks (and hosts) that differ from
/// most others; where neither side has more, those that differ from rank 0.
void require_equal_replicas(const at::Tensor& masters_P, const dist::Process& process, int64_t step);

}  // namespace layalign::trainer
