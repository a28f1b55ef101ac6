#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "dist/agreement.h"
#include "dist/error.h"
#include "dist/process_grid.h"
#include "tests/mpi/test_process.h"

namespace {

using layalign::dist::CommError;
using layalign::dist::make_grid;
using layalign::dist::ProcessGrid;
using layalign::dist::require_agreement;

template <class Call>
std::string comm_error_of(Call call) {
  try {
    call();
  } catch (const CommError& error) {
    return error.what();
  }
  return "no CommError";
}

void expect_same_on_all_ranks(const std::string& text) {
  for (const std::string& other : test_process()->all_gather(text)) EXPECT_EQ(other, text);
}

TEST(ProcessGrid, is_made_for_every_divisor_of_the_world) {
  const auto process = test_process();
  for (int tp = 1; tp <= process->world_size(); ++tp) {
    if (process->world_size() % tp != 0) continue;
    const ProcessGrid grid = make_grid(process, tp, "cpu", "auto");
    EXPECT_EQ(grid.dp_size * grid.tp_size, grid.world_size);
    EXPECT_EQ(grid.dp_rank * tp + grid.tp_rank, grid.world_rank);
    EXPECT_EQ(grid.tp.rank(), grid.tp_rank);
    EXPECT_EQ(grid.tp.size(), tp);
    EXPECT_EQ(grid.world.size(), process->world_size());
    EXPECT_EQ(grid.device, at::Device(at::kCPU));
    // The group is the adjacent ranks: it sums their world ranks and no other.
    at::Tensor sum = at::full({1}, grid.world_rank, at::kLong);
    grid.tp.all_reduce(sum);
    int64_t expected = 0;
    for (int rank = grid.dp_rank * tp; rank < (grid.dp_rank + 1) * tp; ++rank) expected += rank;
    EXPECT_EQ(sum.item<int64_t>(), expected);
  }
}

TEST(ProcessGrid, says_how_many_ranks_to_start) {
  const int tp = test_process()->world_size() + 1;
  const std::string text = comm_error_of([&] { make_grid(test_process(), tp, "cpu", "auto"); });
  EXPECT_NE(text.find("cannot be divided into tensor-parallel groups of " + std::to_string(tp)), std::string::npos)
      << text;
  expect_same_on_all_ranks(text);
}

TEST(ProcessGrid, refuses_nccl_on_the_cpu) {
  const std::string text = comm_error_of([] { make_grid(test_process(), 1, "cpu", "nccl"); });
  EXPECT_NE(text.find("comm.backend: nccl"), std::string::npos) << text;
}

TEST(ProcessGrid, notices_ranks_that_were_asked_for_different_grids) {
  const auto process = test_process();
  if (process->world_size() == 1) return;  // nobody to differ from
  const bool last = process->world_rank() == process->world_size() - 1;
  const std::string text = comm_error_of([&] { make_grid(process, 1, last ? "auto" : "cpu", "auto"); });
  EXPECT_NE(
      text.find("rank " + std::to_string(process->world_size() - 1) + " has parallel.tensor 1, parallel.device auto"),
      std::string::npos)
      << text;
  expect_same_on_all_ranks(text);
}

TEST(Agreement, passes_where_all_agree) {
  EXPECT_NO_THROW(require_agreement(*test_process(), {{"config", "seed: 0\nlr: 1\n"}, {"encoder", "1234"}}));
  EXPECT_NO_THROW(require_agreement(*test_process(), {}));
}

TEST(Agreement, names_the_topic_and_both_values_on_every_rank) {
  const auto process = test_process();
  if (process->world_size() == 1) return;  // nobody to differ from
  const bool odd = process->world_rank() == 1;
  const std::string text = comm_error_of([&] {
    require_agreement(*process, {{"seed", odd ? "1" : "0"}, {"llm", "abc"}});
  });
  EXPECT_NE(text.find("seed:"), std::string::npos) << text;
  EXPECT_NE(text.find("rank 1: \"1\""), std::string::npos) << text;
  EXPECT_NE(text.find(": \"0\""), std::string::npos) << text;
  EXPECT_EQ(text.find("llm"), std::string::npos) << text;
  expect_same_on_all_ranks(text);
}

}  // namespace
