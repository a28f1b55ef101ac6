#include <dlfcn.h>

#include <atomic>
#include <mutex>
#include <system_error>

#include "dist/cuda_plugin.h"
#include "dist/error.h"

namespace layalign::dist {
namespace {

constexpr const char* kFileName = "liblayalign_cuda.so";
std::atomic<const CudaPlugin*> loaded_plugin = nullptr;  // a library is loaded once a program, whoever asks

std::string loader_error() {
  const char* text = dlerror();
  return text ? text : "unknown error of the dynamic loader";
}

const CudaPlugin* open_plugin(const std::filesystem::path& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (!library) throw CommError("the CUDA plug-in " + path.string() + " did not load: " + loader_error());
  const auto entry = reinterpret_cast<const CudaPlugin* (*)()>(dlsym(library, kCudaPluginEntry));
  if (!entry) throw CommError(path.string() + " is not the CUDA plug-in of this program: " + loader_error());
  const CudaPlugin* plugin = entry();
  if (plugin->version != CudaPlugin::kVersion) {
    throw CommError(path.string() + " belongs to another build (interface " + std::to_string(plugin->version) +
                    ", expected " + std::to_string(CudaPlugin::kVersion) + "): build all of layalign again");
  }
  return plugin;
}

}  // namespace

bool gpu_driver_present() {
  void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!driver) return false;
  const auto init = reinterpret_cast<int (*)(unsigned)>(dlsym(driver, "cuInit"));
  const auto get_count = reinterpret_cast<int (*)(int*)>(dlsym(driver, "cuDeviceGetCount"));
  int count = 0;
  return init && get_count && init(0) == 0 && get_count(&count) == 0 && count > 0;
}

std::vector<std::filesystem::path> cuda_plugin_folders() {
  std::error_code ignored;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", ignored);
  const auto folder = program.parent_path();
  return {folder, folder.parent_path() / "lib", folder.parent_path()};
}

const CudaPlugin& load_cuda_plugin(const std::vector<std::filesystem::path>& folders) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (const CudaPlugin* plugin = loaded_plugin) return *plugin;
  std::string searched;
  for (const auto& folder : folders) {
    const auto path = folder / kFileName;
    std::error_code ignored;
    if (std::filesystem::exists(path, ignored)) {
      loaded_plugin = open_plugin(path);
      return *loaded_plugin;
    }
    searched += "\n  " + path.string();
  }
  throw CommError(
      "the CUDA plug-in was not found; build layalign with the CUDA wheels of torch, or set parallel.device to "
      "cpu. Looked for:" +
      searched);
}

const CudaPlugin* loaded_cuda_plugin() { return loaded_plugin; }

}  // namespace layalign::dist
