// One suite over every operation, for every type, in a group of all ranks, and in the groups of one that a single rank
// has.
#include "dist/communicator.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include "dist/mpi_backend.h"
#include "dist/process_grid.h"
#include "tests/mpi/test_process.h"

namespace {

using layalign::dist::Communicator;
using layalign::dist::Reduce;

const Communicator& world() {
  static const Communicator group = layalign::dist::make_grid(test_process(), 1, "cpu", "auto").world;
  return group;
}

std::string bits(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.contiguous();
  return std::string(static_cast<const char*>(flat.data_ptr()), flat.nbytes());
}

void expect_same_bits_on_all_ranks(const at::Tensor& tensor) {
  const auto all = test_process()->all_gather(bits(tensor));
  for (size_t rank = 1; rank < all.size(); ++rank)
    EXPECT_TRUE(all[rank] == all[0]) << "rank " << rank << " differs from rank 0";
}

class CommunicatorOfType : public testing::TestWithParam<at::ScalarType> {};

// Small whole numbers: exact in every type, so the expected values need no tolerance.
at::Tensor numbers_of(int rank, at::ScalarType type) { return (at::arange(6, at::kLong).view({2, 3}) + rank).to(type); }

TEST_P(CommunicatorOfType, all_reduce_sums) {
  at::Tensor x = numbers_of(world().rank(), GetParam());
  at::Tensor expected = at::zeros({2, 3}, GetParam());
  for (int rank = 0; rank < world().size(); ++rank) expected += numbers_of(rank, GetParam());
  world().all_reduce(x);
  EXPECT_TRUE(at::equal(x, expected)) << x;
}

TEST_P(CommunicatorOfType, all_reduce_takes_the_maximum) {
  at::Tensor x = numbers_of(world().rank(), GetParam());
  world().all_reduce(x, Reduce::kMax);
  EXPECT_TRUE(at::equal(x, numbers_of(world().size() - 1, GetParam()))) << x;
}

TEST_P(CommunicatorOfType, all_gather_stacks_in_the_order_of_ranks) {
  const at::Tensor all = world().all_gather(numbers_of(world().rank(), GetParam()));
  ASSERT_EQ(all.sizes(), (std::vector<int64_t>{world().size(), 2, 3}));
  for (int rank = 0; rank < world().size(); ++rank)
    EXPECT_TRUE(at::equal(all[rank], numbers_of(rank, GetParam()))) << all;
}

TEST_P(CommunicatorOfType, broadcast_from_every_root) {
  for (int root = 0; root < world().size(); ++root) {
    at::Tensor x = numbers_of(world().rank(), GetParam());
    world().broadcast(x, root);
    EXPECT_TRUE(at::equal(x, numbers_of(root, GetParam()))) << x;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, CommunicatorOfType,
                         testing::Values(at::kFloat, at::kDouble, at::kBFloat16, at::kLong, at::kInt, at::kByte),
                         [](const auto& info) { return std::string(at::toString(info.param)); });

// Terms that cancel, of sizes from 1e-20 to 1e20: any difference in the order of the additions shows in the bits.
at::Tensor adversarial(int64_t count, int rank, at::ScalarType type) {
  at::Generator random = at::make_generator<at::CPUGeneratorImpl>(1000 + static_cast<uint64_t>(rank));
  const at::Tensor size = at::pow(10.0, at::rand({count}, random, at::kDouble) * 40 - 20);
  return (at::randn({count}, random, at::kDouble) * size).to(type);
}

// The lengths cross every switch of algorithm in OpenMPI (recursive doubling, ring, segmented ring).
TEST(Communicator, all_reduce_gives_the_same_bits_on_every_rank_and_every_time) {
  for (const auto type : {at::kFloat, at::kDouble, at::kBFloat16}) {
    for (const int64_t count : {1, 2, 7, 100, 1000, 5000, 30000, 300000, 3000001}) {
      at::Tensor first = adversarial(count, world().rank(), type);
      at::Tensor second = first.clone();
      world().all_reduce(first);
      world().all_reduce(second);
      EXPECT_EQ(bits(first), bits(second)) << count << " values of " << type;
      expect_same_bits_on_all_ranks(first);
    }
  }
}

TEST(Communicator, bfloat16_is_summed_in_float32_and_rounded_once) {
  // 256 + 1 is not a bfloat16: rounding after each addition would lose every 1.
  at::Tensor x = at::full({5}, world().rank() == 0 ? 256.0 : 1.0, at::kBFloat16);
  world().all_reduce(x);
  const at::Tensor expected = at::full({5}, 256.0f + static_cast<float>(world().size() - 1)).to(at::kBFloat16);
  EXPECT_TRUE(at::equal(x, expected)) << x;
}

TEST(Communicator, counts_calls_and_bytes) {
  const Communicator group = layalign::dist::make_grid(test_process(), 1, "cpu", "mpi").world;
  at::Tensor x = at::ones({10});
  group.all_reduce(x);
  group.all_reduce(x);
  group.all_gather(x);
  group.broadcast(x, 0);
  group.all_reduce(at::empty({0}));  // nothing to send, nothing to count
  const int64_t sent = group.size() == 1 ? 0 : 1;
  EXPECT_EQ(group.traffic().all_reduce.calls, 2 * sent);
  EXPECT_EQ(group.traffic().all_reduce.bytes, 80 * sent);
  EXPECT_EQ(group.traffic().all_gather.calls, sent);
  EXPECT_EQ(group.traffic().all_gather.bytes, 40 * sent);
  EXPECT_EQ(group.traffic().broadcast.calls, sent);
  EXPECT_EQ(group.sequence(), 4 * sent);
}

TEST(Communicator, refuses_what_it_would_get_wrong) {
  EXPECT_THROW(world().all_reduce(at::ones({4, 4}).t().slice(0, 0, 2)), c10::Error);
  EXPECT_THROW(world().all_reduce(at::ones({4}, at::kHalf)), c10::Error);
  EXPECT_THROW(world().all_reduce(torch::ones({4}, at::requires_grad())), c10::Error);
  EXPECT_THROW(world().broadcast(at::ones({4}), world().size()), c10::Error);
  EXPECT_THROW(world().all_reduce(at::Tensor()), c10::Error);
}

TEST(Communicator, tells_autograd_that_a_saved_tensor_changed) {
  if (world().size() == 1) return;  // the identity changes nothing
  const at::Tensor weight = torch::ones({3}, at::requires_grad());
  at::Tensor saved = at::ones({3});
  const at::Tensor y = weight * saved;
  world().all_reduce(saved);
  EXPECT_THROW(y.sum().backward(), c10::Error);
}

// Long messages are cut; a limit of 4 values shows it without gigabytes.
TEST(MpiBackend, cuts_long_messages) {
  layalign::dist::MpiBackend backend(MPI_COMM_WORLD, 4);
  const int rank = test_process()->world_rank(), size = test_process()->world_size();
  const at::Tensor base = at::arange(11, at::kFloat);
  at::Tensor sum = base + rank;
  backend.all_reduce(sum, Reduce::kSum);
  EXPECT_TRUE(at::equal(sum, base * size + size * (size - 1) / 2)) << sum;

  at::Tensor all = at::empty({size, 11});
  backend.all_gather(base + rank, all);
  for (int other = 0; other < size; ++other) EXPECT_TRUE(at::equal(all[other], base + other)) << all;

  at::Tensor copy = base + rank;
  backend.broadcast(copy, size - 1);
  EXPECT_TRUE(at::equal(copy, base + (size - 1))) << copy;
}

}  // namespace
