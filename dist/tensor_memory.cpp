#include "dist/tensor_memory.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <malloc.h>

#include <atomic>
#include <cstring>

#include "dist/device.h"

namespace layalign::dist {
namespace {

std::atomic<int64_t> held_bytes{0}, peak_bytes{0};

void free_counted(void* data) {
  if (data == nullptr) return;
  held_bytes -= static_cast<int64_t>(malloc_usable_size(data));
  c10::free_cpu(data);
}

/// LibTorch's own allocation on a CPU, counted. The size of a block is asked of malloc's library again when it is freed.
class CountingAllocator : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* const data = c10::alloc_cpu(bytes);
    const int64_t held = held_bytes += data == nullptr ? 0 : static_cast<int64_t>(malloc_usable_size(data));
    int64_t peak = peak_bytes;
    while (held > peak && !peak_bytes.compare_exchange_weak(peak, held)) {
    }
    return {data, data, &free_counted, at::kCPU};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free_counted; }
  void copy_data(void* target, const void* source, size_t bytes) const override { std::memcpy(target, source, bytes); }
};

}  // namespace

void count_cpu_tensors() {
  static CountingAllocator allocator;
  c10::SetCPUAllocator(&allocator, /*priority=*/1);
}

int64_t peak_tensor_bytes(at::Device device) { return device.is_cpu() ? peak_bytes.load() : peak_memory_bytes(device); }
int64_t cpu_tensor_bytes() { return held_bytes; }
void reset_peak_cpu_tensor_bytes() { peak_bytes = held_bytes.load(); }

}  // namespace layalign::dist
