#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace layalign::dist {

/// The most memory this process has held so far, in bytes. CPU: resident memory of the whole process.
/// CUDA: what LibTorch's allocator handed out on that device.
int64_t peak_memory_bytes(at::Device device);

/// Memory of a device, in bytes.
struct DeviceMemory {
  int64_t free_bytes = 0;
  int64_t total_bytes = 0;
};

/// What the device has and what is still free. CPU: the machine's main memory.
DeviceMemory device_memory(at::Device device);

/// What decides how a device rounds: of a CPU the vendor and the instruction set that LibTorch uses ("GenuineIntel
/// AVX512"), of a GPU its name.
std::string processor_name(at::Device device);

}  // namespace layalign::dist
