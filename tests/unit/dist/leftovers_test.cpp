#include "dist/leftovers.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

namespace layalign::dist {
namespace {

namespace fs = std::filesystem;

pid_t dead_process() {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  return child;
}

class SweepDeadJobs : public testing::Test {
 protected:
  SweepDeadJobs() {
    std::string name = (fs::temp_directory_path() / "layalign-leftovers-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    fs::create_directory(shared());
  }
  ~SweepDeadJobs() override { fs::remove_all(folder_); }

  fs::path shared() const { return folder_ / "shm"; }

  /// As OpenMPI 4.1.4 names things; `daemon` is mpirun's number in the job's names.
  fs::path session(const std::string& host, pid_t process, int64_t daemon) const {
    const auto path = folder_ / ("ompi." + host + "." + user_) / ("pid." + std::to_string(process));
    fs::create_directories(path / "0" / "1");
    std::ofstream(path / "contact.txt") << daemon << ".0;tcp://10.0.0.1,10.0.1.1:54321\n" << process << "\n";
    return path;
  }
  fs::path segment(const std::string& host, const std::string& job, int rank) const {
    const auto path = shared() / ("vader_segment." + host + "." + user_ + "." + job + "." + std::to_string(rank));
    std::ofstream(path) << std::string(1000, 'x');
    return path;
  }
  Leftovers sweep() const { return sweep_dead_jobs(folder_, shared(), "node7.cluster.example"); }

  fs::path folder_;
  std::string user_ = std::to_string(::geteuid());
};

TEST_F(SweepDeadJobs, RemovesSegmentsAndStateOfAJobWhoseMpirunIsDead) {
  const auto state = session("node7", dead_process(), 0xb2e30000);
  const auto first = segment("node7", "b2e30001", 0);
  const auto second = segment("node7", "b2e30001", 1);
  const auto swept = sweep();
  EXPECT_EQ(swept.jobs, 1);
  EXPECT_EQ(swept.files, 2);
  EXPECT_EQ(swept.bytes, 2000);
  for (const auto& path : {state, first, second}) EXPECT_FALSE(fs::exists(path)) << path;
  EXPECT_EQ(sweep().jobs, 0);
}

TEST_F(SweepDeadJobs, LeavesAloneWhatIsNotProvenDead) {
  const auto dead = dead_process();
  const std::vector<fs::path> kept = {
      session("node7", ::getpid(), 0x10000),
      segment("node7", "10001", 0),  // a living job
      session("node8", dead, 0x20000),
      segment("node8", "20001", 0),                            // another node's
      segment("node7", "30001", 0),                            // of no job that is known
      session("node7", dead, 0x40000).parent_path() / "jf.1",  // what a daemon of OpenMPI keeps
  };
  fs::create_directory(kept.back());
  const auto other_job = segment("node7", "400011", 0);
  EXPECT_EQ(sweep().files, 0);
  for (const auto& path : kept) EXPECT_TRUE(fs::exists(path)) << path;
  EXPECT_TRUE(fs::exists(other_job));
}

TEST_F(SweepDeadJobs, WithoutFoldersOrWithAnUnreadableContactNothingGoesWrong) {
  EXPECT_EQ(sweep_dead_jobs(folder_ / "none", folder_ / "none", "node7").jobs, 0);
  const auto state = session("node7", dead_process(), 1);
  std::ofstream(state / "contact.txt") << "garbage";
  const auto any = segment("node7", "1", 0);
  EXPECT_EQ(sweep().jobs, 1);
  EXPECT_TRUE(fs::exists(any));
}

}  // namespace
}  // namespace layalign::dist
