#include "trainer/gpu_specs.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace layalign::trainer {
namespace {

// Names that contain others come first. Source: NVIDIA's data sheets.
constexpr std::array<GpuSpec, 6> kGpus{{{"h200", 989e12, 67e12, 141e9, 4.8e12},
                                        {"h100 pcie", 756e12, 51e12, 80e9, 2.0e12},
                                        {"h100", 989e12, 67e12, 80e9, 3.35e12},
                                        {"a100", 312e12, 19.5e12, 80e9, 2.0e12},
                                        {"l40s", 362e12, 91.6e12, 48e9, 864e9},
                                        {"l40", 181e12, 90.5e12, 48e9, 864e9}}};

}  // namespace

std::optional<GpuSpec> find_gpu(const std::string& device_name) {
  std::string name = device_name;
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const GpuSpec& gpu : kGpus) {
    if (name.find(gpu.name) != std::string::npos) return gpu;
  }
  return std::nullopt;
}

std::optional<double> flops_utilization(const std::string& device_name, const std::string& precision, double flops,
                                        double seconds, int ranks) {
  const auto gpu = find_gpu(device_name);
  if (!gpu) return std::nullopt;
  const double peak = precision == "bfloat16" ? gpu->bfloat16_flops : gpu->float32_flops;
  return flops / (seconds * peak * ranks);
}

}  // namespace layalign::trainer
