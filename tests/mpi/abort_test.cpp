// Runs mpirun itself, so this suite is one ordinary process.
#include <gtest/gtest.h>

#include "tests/mpi/mpi_program.h"

namespace {

using layalign::test::Outcome;

Outcome run(int ranks, const std::string& arguments) { return run_under_mpi(ranks, FAILING_RANK " " + arguments); }

TEST(Abort, ends_all_ranks_with_the_code_of_the_one_that_failed) {
  for (const int code : {70, 42}) {
    const Outcome outcome = run(3, "abort " + std::to_string(code));
    EXPECT_EQ(outcome.code, code) << outcome.output;
    EXPECT_NE(outcome.output.find("rank 2: the last rank gives up"), std::string::npos) << outcome.output;
  }
}

TEST(Abort, may_come_from_two_threads_at_once) {
  const Outcome outcome = run(2, "two_threads 65");
  EXPECT_EQ(outcome.code, 65) << outcome.output;
}

TEST(Abort, of_a_single_rank_is_its_exit_status) {
  const Outcome outcome = run(1, "abort 2");
  EXPECT_EQ(outcome.code, 2) << outcome.output;
}

TEST(Abort, is_not_needed_for_the_job_to_end_when_an_exception_passes_through) {
  const Outcome outcome = run(3, "unwind 74");
  EXPECT_EQ(outcome.code, 74) << outcome.output;
}

TEST(Finalize, may_be_called_twice) {
  const Outcome outcome = run(2, "finish 0");
  EXPECT_EQ(outcome.code, 0) << outcome.output;
}

TEST(Abort, is_told_from_a_crash_of_mpirun_after_it_and_of_a_rank) {
  using layalign::test::status_of_job;
  const std::string aborted = "MPI_ABORT was invoked on rank 0 in communicator MPI_COMM_WORLD\nwith errorcode 70.\n";
  EXPECT_EQ(status_of_job({139, aborted + "[vm:1] [ 1] libpmix.so.2(PMIx_server_finalize+0xb08)[0x7fdf1607d118]\n"}), 70);
  EXPECT_EQ(status_of_job({139, aborted + "[vm:1] [ 1] libpmix.so.2(PMIx_Init+0xb08)[0x7fdf1607d118]\n"}), 139);
  EXPECT_EQ(status_of_job({139, "[vm:1] [ 1] libpmix.so.2(PMIx_server_finalize+0xb08)[0x7fdf1607d118]\n"}), 139);
  EXPECT_EQ(status_of_job({1, aborted}), 1);
}

}  // namespace
