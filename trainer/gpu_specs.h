#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace layalign::trainer {

/// The data sheet of a GPU: dense products without sparsity.
struct GpuSpec {
  const char* name;       ///< a part of what the driver calls it
  double bfloat16_flops;  ///< a second
  double float32_flops;   ///< a second, without TF32
  double memory_bytes;
  double memory_bytes_per_s;
};

/// The GPU whose name is part of `device_name`, whatever the case; none of a GPU that is not known here.
std::optional<GpuSpec> find_gpu(const std::string& device_name);

/// The share of the peak that a frozen LLM's products get: `flops` done in `seconds` on `ranks` GPUs of that name. None
/// where the peak is not known, as on a CPU. `precision`: as parallel.precision.
std::optional<double> flops_utilization(const std::string& device_name, const std::string& precision, double flops,
                                        double seconds, int ranks);

}  // namespace layalign::trainer
