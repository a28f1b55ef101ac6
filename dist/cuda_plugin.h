#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "dist/backend.h"
#include "dist/device.h"

namespace layalign::dist {

/// What the program may ask of `liblayalign_cuda.so`, which is loaded only where device cuda is wanted: linking CUDA's
/// LibTorch would cost 355 MB of memory a rank on machines without a GPU. Program and plug-in come from one build.
/// Errors: every function may throw `CommError` or `c10::Error`.
struct CudaPlugin {
  static constexpr int kVersion = 2;  ///< raised with every change of this table

  int version;
  int (*device_count)();
  std::string (*pci_bus_id)(int device);
  std::string (*device_name)(int device);  ///< "NVIDIA H200"
  void (*set_device)(int device);  ///< for this thread; also readies LibTorch's CUDA side
  int64_t (*peak_memory_bytes)(int device);
  DeviceMemory (*device_memory)(int device);
  int (*nccl_version)();          ///< of the loaded library; throws if the plug-in was built against another
  std::string (*make_nccl_id)();  ///< called by one rank of a group, which hands it to the others
  std::shared_ptr<Backend> (*make_nccl_backend)(const std::string& id, int rank, int size, int device);
};

/// The name of the function, `const CudaPlugin* ()` with C linkage, by which the plug-in hands out its table.
inline constexpr const char* kCudaPluginEntry = "layalign_cuda_plugin";

/// Whether an NVIDIA driver answers on this machine and shows at least one GPU; loads nothing large.
bool gpu_driver_present();

/// Where the plug-in is looked for: beside the program, in ../lib, and one level up.
std::vector<std::filesystem::path> cuda_plugin_folders();

/// The plug-in, loaded once, at the first call, from the first of `folders` that holds it, and never unloaded.
/// Errors: `CommError` that says where it was looked for, or why it did not load.
const CudaPlugin& load_cuda_plugin(const std::vector<std::filesystem::path>& folders = cuda_plugin_folders());

/// The plug-in if it was loaded, else null.
const CudaPlugin* loaded_cuda_plugin();

}  // namespace layalign::dist
