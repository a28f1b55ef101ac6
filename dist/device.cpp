#include "dist/device.h"

#include <ATen/Version.h>
#include <c10/util/Exception.h>
#include <sys/resource.h>

#include <fstream>
#include <sstream>
#include <string>

#include "dist/cuda_plugin.h"

namespace layalign::dist {
namespace {

// The value of a "Name:   123 kB" line of a /proc file in bytes; 0 where there is no such line.
int64_t proc_bytes(const char* file, const std::string& name) {
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    if (line.rfind(name + ":", 0) != 0) continue;
    int64_t kibibytes = 0;
    std::istringstream(line.substr(name.size() + 1)) >> kibibytes;
    return kibibytes * 1024;
  }
  return 0;
}

// The value of the first "name<tab>: value" line of /proc/cpuinfo; empty where there is no such line.
std::string cpu_fact(const std::string& name) {
  std::ifstream stream("/proc/cpuinfo");
  for (std::string line; std::getline(stream, line);) {
    if (line.rfind(name, 0) != 0) continue;
    const size_t begin = line.find_first_not_of(": \t", name.size());
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "";
}

const CudaPlugin& plugin_of(at::Device device) {
  const CudaPlugin* plugin = loaded_cuda_plugin();
  TORCH_CHECK(device.is_cuda() && plugin, "nothing is known of device ", device, ": it is not in use");
  return *plugin;
}

}  // namespace

int64_t peak_memory_bytes(at::Device device) {
  if (!device.is_cpu()) {
    const CudaPlugin& plugin = plugin_of(device);
    return plugin.peak_memory_bytes(device.index());
  }
  // VmHWM before ru_maxrss: the latter is inherited from the program that started this one, through exec.
  if (const int64_t peak = proc_bytes("/proc/self/status", "VmHWM")) return peak;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<int64_t>(usage.ru_maxrss) * 1024;
}

DeviceMemory device_memory(at::Device device) {
  if (!device.is_cpu()) {
    const CudaPlugin& plugin = plugin_of(device);
    return plugin.device_memory(device.index());
  }
  return {proc_bytes("/proc/meminfo", "MemAvailable"), proc_bytes("/proc/meminfo", "MemTotal")};
}

std::string processor_name(at::Device device) {
  if (!device.is_cpu()) return plugin_of(device).device_name(device.index());
  std::string vendor = cpu_fact("vendor_id");
  if (vendor.empty()) vendor = cpu_fact("CPU implementer");  // of ARM
  return (vendor.empty() ? "CPU" : vendor) + " " + at::get_cpu_capability();
}

}  // namespace layalign::dist
