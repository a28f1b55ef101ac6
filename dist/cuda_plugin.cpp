#include "dist/cuda_plugin.h"

#include <ATen/Context.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <cuda_runtime_api.h>

#include <array>

#include "dist/error.h"
#include "dist/nccl_backend.h"

namespace layalign::dist {
namespace {

void check_cuda(cudaError_t result, const char* call) {
  if (result == cudaSuccess) return;
  cudaGetLastError();  // a failed call would be reported again by the next kernel
  throw CommError(std::string(call) + " failed: " + cudaGetErrorString(result));
}

int device_count() { return c10::cuda::device_count(); }

std::string pci_bus_id(int device) {
  std::array<char, 32> id{};
  check_cuda(cudaDeviceGetPCIBusId(id.data(), static_cast<int>(id.size()), device), "cudaDeviceGetPCIBusId");
  return id.data();
}

std::string device_name(int device) {
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  return properties.name;
}

void set_device(int device) {
  // LibTorch looks for its CUDA side once, at the first question; asked before this library was loaded it found none.
  if (!at::Context::hasCUDART()) {
    throw CommError("LibTorch was asked about CUDA before its CUDA library was loaded: call make_grid first");
  }
  c10::cuda::set_device(static_cast<c10::DeviceIndex>(device));
  at::globalContext().lazyInitDevice(at::kCUDA);
}

int64_t peak_allocated_bytes(int device) {
  constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  return c10::cuda::CUDACachingAllocator::getDeviceStats(static_cast<c10::DeviceIndex>(device))
      .allocated_bytes[kAll]
      .peak;
}

DeviceMemory memory_of(int device) {
  const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(device));
  size_t free_bytes = 0, total_bytes = 0;
  check_cuda(cudaMemGetInfo(&free_bytes, &total_bytes), "cudaMemGetInfo");
  return {static_cast<int64_t>(free_bytes), static_cast<int64_t>(total_bytes)};
}

std::shared_ptr<Backend> make_nccl_backend(const std::string& id, int rank, int size, int device) {
  return std::make_shared<NcclBackend>(id, rank, size, device);
}

}  // namespace
}  // namespace layalign::dist

/// The one symbol that the program looks up (`kCudaPluginEntry`).
extern "C" const layalign::dist::CudaPlugin* layalign_cuda_plugin() {
  using namespace layalign::dist;
  static const CudaPlugin table = {CudaPlugin::kVersion, device_count,         pci_bus_id, device_name,
                                   set_device,           peak_allocated_bytes, memory_of,  checked_nccl_version,
                                   make_nccl_id,         make_nccl_backend};
  return &table;
}
