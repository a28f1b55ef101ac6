// The main of every suite that runs under mpirun: starts MPI once, prints on rank 0 alone, joins the ranks' results.
#include <gtest/gtest.h>

#include <cstdio>
#include <exception>
#include <string>

#include "tests/mpi/test_process.h"

namespace {

std::shared_ptr<layalign::dist::Process> process;

// Other ranks print nothing but their failures. A fatal one ends the job: the test was left early on this rank alone,
// and its peers would wait in the next collective for ever.
class RankFailures : public testing::EmptyTestEventListener {
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    if (process->world_rank() > 0) {
      std::fprintf(stderr, "rank %d: %s:%d: %s\n", process->world_rank(), result.file_name() ? result.file_name() : "?",
                   result.line_number(), result.message());
    }
    if (result.fatally_failed() && process->world_size() > 1) process->abort(1);
  }
};

}  // namespace

std::shared_ptr<layalign::dist::Process> test_process() { return process; }

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  try {
    process = std::make_shared<layalign::dist::Process>();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  if (process->world_rank() > 0) delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new RankFailures);

  const int mine = RUN_ALL_TESTS();
  int failed_ranks = 0;
  for (const std::string& result : process->all_gather(std::to_string(mine))) failed_ranks += result != "0";
  if (failed_ranks > 0 && process->world_rank() == 0) {
    std::fprintf(stderr, "tests failed on %d of %d ranks\n", failed_ranks, process->world_size());
  }
  process->finalize();
  return failed_ranks == 0 ? 0 : 1;
}
