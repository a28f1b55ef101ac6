#include "dist/communicator.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "dist/error.h"
#include "dist/tensor_parallel.h"

namespace {

using namespace layalign::dist;

// A transport that fails as a broken network would.
struct BrokenBackend : Backend {
  const char* name() const override { return "broken"; }
  void all_reduce(at::Tensor&, Reduce) override { throw CommError("cable unplugged"); }
  void all_gather(const at::Tensor&, at::Tensor&) override { throw CommError("cable unplugged"); }
  void broadcast(at::Tensor&, int) override { throw CommError("cable unplugged"); }
};

TEST(Communicator, alone_is_the_identity) {
  const Communicator alone;
  EXPECT_EQ(alone.rank(), 0);
  EXPECT_EQ(alone.size(), 1);
  EXPECT_STREQ(alone.backend(), "self");
  at::Tensor x = at::arange(3.0);
  alone.all_reduce(x);
  alone.broadcast(x, 0);
  EXPECT_TRUE(at::equal(x, at::arange(3.0)));
  EXPECT_TRUE(at::equal(alone.all_gather(x), x.unsqueeze(0)));
  EXPECT_EQ(alone.sequence(), 0);
}

TEST(Communicator, alone_goes_on_with_every_collective) {
  const Communicator alone;
  const auto activity = std::make_shared<Activity>();
  alone.report_to(activity, GroupKind::kTensorParallel, 0);
  const auto progress = [&] { return activity->read().progress; };
  int64_t before = progress();
  auto ones = at::ones({2});
  for (const auto& collective : {std::function<void()>([&] { alone.all_reduce(ones); }), std::function<void()>([&] { alone.all_gather(ones); }),
                                 std::function<void()>([&] { alone.broadcast(ones, 0); }),
                                 std::function<void()>([&] { reduce_from_tensor_parallel(ones, alone); })}) {
    collective();
    EXPECT_GT(progress(), before);
    before = progress();
  }
  EXPECT_EQ(activity->read().in_collective, 0);
}

TEST(Communicator, copies_are_the_same_group) {
  const Communicator group("tp", 1, 2, at::kCPU, std::make_shared<BrokenBackend>());
  const Communicator copy = group;
  EXPECT_THROW(copy.all_reduce(at::ones({1})), CommError);
  EXPECT_EQ(group.sequence(), 1);
}

TEST(Communicator, names_the_operation_that_failed) {
  const Communicator group("tp", 1, 2, at::kCPU, std::make_shared<BrokenBackend>());
  EXPECT_THROW(group.broadcast(at::ones({1}), 0), CommError);
  try {
    group.all_reduce(at::ones({2, 3}));
    FAIL() << "the backend's error was lost";
  } catch (const CommError& error) {
    EXPECT_STREQ(error.what(), "all_reduce (number 2 of group tp, rank 1 of 2, 6 Float values): cable unplugged");
  }
}

TEST(Communicator, wants_a_backend_for_more_than_one_rank) {
  EXPECT_THROW(Communicator("tp", 0, 2, at::kCPU, nullptr), c10::Error);
  EXPECT_THROW(Communicator("tp", 2, 2, at::kCPU, std::make_shared<BrokenBackend>()), c10::Error);
}

TEST(Shard, blocks_cover_all_rows_once_and_are_equal_in_size) {
  for (const int64_t total : {0, 1, 7, 8, 9, 32003}) {
    for (const int ranks : {1, 2, 3, 4, 8}) {
      int64_t next = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const Shard shard = shard_of(total, rank, ranks);
        EXPECT_EQ(shard.size, (total + ranks - 1) / ranks);
        EXPECT_EQ(shard.begin, next);
        EXPECT_LE(shard.begin, shard.end);
        EXPECT_EQ(shard.begin, std::min(total, rank * shard.size));
        next = shard.end;
      }
      EXPECT_EQ(next, total);
    }
  }
  EXPECT_THROW(shard_of(4, 2, 2), c10::Error);
}

}  // namespace
