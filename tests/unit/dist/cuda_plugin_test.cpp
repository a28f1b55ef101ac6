// The plug-in itself, as far as a machine without a GPU can show it: it loads, fits this build and finds its NCCL.
#include "dist/cuda_plugin.h"

#include <ATen/Context.h>
#include <gtest/gtest.h>

#include "dist/error.h"

namespace {

using namespace layalign::dist;

TEST(CudaPlugin, loads_once_and_brings_the_nccl_it_was_built_with) {
  EXPECT_EQ(loaded_cuda_plugin(), nullptr);
  const CudaPlugin& plugin = load_cuda_plugin({"/nonexistent", LAYALIGN_BINARY_DIR});
  EXPECT_EQ(loaded_cuda_plugin(), &plugin);
  EXPECT_EQ(&load_cuda_plugin({}), &plugin);
  EXPECT_GE(plugin.nccl_version(), 22800);
  EXPECT_GE(plugin.device_count(), 0);
  EXPECT_TRUE(at::Context::hasCUDART()) << "LibTorch does not see the CUDA library that came with the plug-in";
}

TEST(CudaPlugin, its_errors_arrive_as_comm_errors) {
  const CudaPlugin& plugin = load_cuda_plugin({LAYALIGN_BINARY_DIR});
  EXPECT_THROW(plugin.make_nccl_backend("too short", 0, 2, 0), CommError);
  EXPECT_THROW(plugin.pci_bus_id(plugin.device_count()), CommError);
  EXPECT_THROW(plugin.device_name(plugin.device_count()), CommError);
}

}  // namespace
