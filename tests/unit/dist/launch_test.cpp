#include <gtest/gtest.h>

#include <map>
#include <string>

#include "dist/error.h"
#include "dist/process.h"

namespace {

using namespace layalign::dist;

LaunchEnvironment read(const std::map<std::string, std::string>& variables) {
  return read_launch_environment([&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

std::string refusal(const LaunchEnvironment& launch, int mpi_ranks) {
  try {
    check_launch(launch, mpi_ranks);
  } catch (const CommError& error) {
    return error.what();
  }
  return "";
}

TEST(Launch, by_hand_is_a_world_of_one_without_mpi) {
  const LaunchEnvironment launch = read({});
  EXPECT_FALSE(launch.under_mpi);
  EXPECT_EQ(refusal(launch, 1), "");
}

TEST(Launch, by_mpirun_or_srun_is_seen) {
  EXPECT_TRUE(read({{"OMPI_COMM_WORLD_SIZE", "2"}}).under_mpi);
  EXPECT_TRUE(read({{"PMIX_RANK", "0"}}).under_mpi);
  EXPECT_TRUE(read({{"PMI_RANK", "0"}}).under_mpi);
  EXPECT_FALSE(read({{"SLURM_NTASKS", "4"}}).under_mpi);
}

TEST(Launch, refuses_a_lone_rank_among_slurm_tasks) {
  const std::string text = refusal(read({{"SLURM_NTASKS", "4"}}), 1);
  EXPECT_NE(text.find("SLURM_NTASKS) announces 4 ranks, but this process sees 1"), std::string::npos) << text;
  EXPECT_NE(text.find("srun --mpi=pmix"), std::string::npos) << text;
  EXPECT_EQ(refusal(read({{"SLURM_NTASKS", "1"}}), 1), "");
  EXPECT_EQ(refusal(read({{"SLURM_NTASKS", "4"}, {"PMIX_RANK", "0"}}), 4), "");
}

TEST(Launch, refuses_an_mpi_that_is_not_its_launchers) {
  const std::string text = refusal(read({{"OMPI_COMM_WORLD_SIZE", "2"}}), 1);
  EXPECT_NE(text.find("the MPI launcher announces 2 ranks, but this process sees 1"), std::string::npos) << text;
  EXPECT_NE(refusal(read({{"PMI_RANK", "0"}, {"PMI_SIZE", "2"}}), 1), "");
}

TEST(Launch, lets_mpirun_start_fewer_ranks_than_the_job_has_tasks) {
  EXPECT_EQ(refusal(read({{"OMPI_COMM_WORLD_SIZE", "2"}, {"SLURM_NTASKS", "8"}}), 2), "");
}

TEST(Process, by_hand_talks_to_itself) {
  Process process;
  EXPECT_EQ(process.world_rank(), 0);
  EXPECT_EQ(process.world_size(), 1);
  EXPECT_EQ(process.local_size(), 1);
  EXPECT_EQ(process.all_gather("x"), std::vector<std::string>{"x"});
  EXPECT_EQ(process.broadcast("x", 0), "x");
  EXPECT_THROW(process.broadcast("x", 1), CommError);
  EXPECT_THROW(process.make_mpi_backend(0), CommError);
  process.barrier();
  process.finalize();
  process.finalize();
}

}  // namespace
