#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace layalign::dist {

/// From now on counts the bytes of LibTorch's tensors in main memory: resident memory also has libraries, and what was
/// freed and not given back. Call it before the first tensor; once is enough. Threads: any.
void count_cpu_tensors();

/// The most bytes that tensors have held at once so far. CPU: since count_cpu_tensors (0 without); CUDA: as LibTorch's
/// allocator handed them out on that device.
int64_t peak_tensor_bytes(at::Device device);

/// What CPU tensors hold now, since count_cpu_tensors.
int64_t cpu_tensor_bytes();

/// The peak of CPU tensors begins anew at what they hold now.
void reset_peak_cpu_tensor_bytes();

}  // namespace layalign::dist
