#include "dist/device.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "dist/cuda_plugin.h"
#include "dist/error.h"
#include "dist/tensor_memory.h"

namespace {

using namespace layalign::dist;

TEST(Device, peak_memory_keeps_what_was_held_once) {
  constexpr int64_t kBytes = 64 << 20;
  const int64_t before = peak_memory_bytes(at::kCPU);
  EXPECT_GT(before, 1 << 20);
  { const at::Tensor held = at::ones({2 * kBytes}, at::kByte); }
  EXPECT_GE(peak_memory_bytes(at::kCPU), kBytes);
  EXPECT_GE(peak_memory_bytes(at::kCPU), before);
}

TEST(TensorMemory, counts_what_tensors_hold) {
  count_cpu_tensors();
  constexpr int64_t kBytes = 8 << 20;
  const int64_t before = cpu_tensor_bytes();
  reset_peak_cpu_tensor_bytes();
  EXPECT_EQ(peak_tensor_bytes(at::kCPU), before);
  {
    const at::Tensor held = at::empty({kBytes}, at::kByte);
    const at::Tensor view = held.narrow(0, 0, 10);
    // The C library rounds blocks up, by less than a page.
    EXPECT_NEAR(static_cast<double>(cpu_tensor_bytes() - before), kBytes, 4096);
    const at::Tensor empty = at::empty({0});
  }
  EXPECT_EQ(cpu_tensor_bytes(), before);
  EXPECT_NEAR(static_cast<double>(peak_tensor_bytes(at::kCPU) - before), kBytes, 4096);
}

TEST(Device, main_memory_is_known) {
  const DeviceMemory memory = device_memory(at::kCPU);
  EXPECT_GT(memory.free_bytes, 0);
  EXPECT_GE(memory.total_bytes, memory.free_bytes);
}

TEST(Device, a_gpu_that_is_not_in_use_has_no_figures) {
  EXPECT_THROW(peak_memory_bytes(at::Device(at::kCUDA, 0)), c10::Error);
  EXPECT_THROW(processor_name(at::Device(at::kCUDA, 0)), c10::Error);
}

TEST(CudaPlugin, says_where_it_was_looked_for) {
  const auto folders = cuda_plugin_folders();
  ASSERT_EQ(folders.size(), 3u);
  try {
    load_cuda_plugin({"/nonexistent/here", "/nonexistent/there"});
    FAIL() << "loaded from nowhere";
  } catch (const CommError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("/nonexistent/here/liblayalign_cuda.so"), std::string::npos) << text;
    EXPECT_NE(text.find("/nonexistent/there/liblayalign_cuda.so"), std::string::npos) << text;
    EXPECT_NE(text.find("parallel.device to cpu"), std::string::npos) << text;
  }
}

}  // namespace
