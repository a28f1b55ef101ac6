#include "dist/process.h"

#include <mpi.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <numeric>
#include <thread>

#include "dist/error.h"
#include "dist/mpi_backend.h"
#include "dist/mpi_heartbeat.h"
#include "dist/mpi_mailbox.h"
#include "dist/mpi_notice.h"

namespace layalign::dist {
namespace {

constexpr const char* kHowToStart =
    "Start it with `mpirun -n N PROGRAM ...` (the mpirun of the MPI it was built with), or with `srun --mpi=pmix "
    "PROGRAM ...` "
    "(`srun --mpi=list` shows what this Slurm offers); for one rank inside an allocation: `srun -n 1 --mpi=pmix "
    "PROGRAM ...`.";

std::string host_name() {
  char name[HOST_NAME_MAX + 1] = "";
  return gethostname(name, sizeof(name)) == 0 ? name : "unknown host";
}

int positive_number(const char* text) {
  const long value = text ? std::strtol(text, nullptr, 10) : 0;
  return value > 0 && value <= INT_MAX ? static_cast<int>(value) : 0;
}

}  // namespace

LaunchEnvironment read_launch_environment(const std::function<const char*(const char*)>& get) {
  LaunchEnvironment launch;
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE"}) {
    launch.under_mpi = launch.under_mpi || get(name) != nullptr;
  }
  launch.announced_ranks = positive_number(get("OMPI_COMM_WORLD_SIZE"));
  if (launch.announced_ranks == 0) launch.announced_ranks = positive_number(get("PMI_SIZE"));
  launch.slurm_tasks = positive_number(get("SLURM_NTASKS"));
  return launch;
}

void check_launch(const LaunchEnvironment& launch, int mpi_ranks) {
  // mpirun inside a Slurm job may start fewer ranks than the job has tasks: its own number counts.
  const int expected = launch.announced_ranks > 0 ? launch.announced_ranks : launch.slurm_tasks;
  if (expected == 0 || expected == mpi_ranks) return;
  const std::string launcher = launch.announced_ranks > 0 ? "the MPI launcher" : "Slurm (SLURM_NTASKS)";
  throw CommError(launcher + " announces " + std::to_string(expected) + " ranks, but this process sees " +
                  std::to_string(mpi_ranks) + (mpi_ranks == 1 ? " and would run alone. " : ". ") + kHowToStart);
}

struct Process::Mpi {
  MPI_Comm control = MPI_COMM_NULL;
  std::vector<MPI_Comm> groups;
  int64_t sequence = 0;  // of collectives on the control channel

  MPI_Comm duplicate_of_control();
};

Process::Process() : host_(host_name()), exceptions_at_start_(std::uncaught_exceptions()) {
  const LaunchEnvironment launch = read_launch_environment([](const char* name) { return std::getenv(name); });
  if (launch.under_mpi) {
    start_mpi(launch);
  } else {
    check_launch(launch, 1);
  }
}

void Process::start_mpi(const LaunchEnvironment& launch) {
  int started = 0;
  check_mpi(MPI_Initialized(&started), "MPI_Initialized");
  if (started) throw CommError("MPI was started before: a program makes one dist::Process");
  int threads = MPI_THREAD_SINGLE;
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &threads), "MPI_Init_thread");
  try {
    check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &world_rank_), "MPI_Comm_rank");
    check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &world_size_), "MPI_Comm_size");
    check_launch(launch, world_size_);
    if (threads < MPI_THREAD_MULTIPLE) {
      throw CommError("this MPI was built without MPI_THREAD_MULTIPLE; OpenMPI of the distribution has it");
    }
  } catch (...) {
    MPI_Finalize();  // every rank finds the same fault
    throw;
  }
  mpi_ = std::make_unique<Mpi>();
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &mpi_->control), "MPI_Comm_dup");
  check_mpi(MPI_Comm_set_errhandler(mpi_->control, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");

  MPI_Comm local = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(mpi_->control, MPI_COMM_TYPE_SHARED, world_rank_, MPI_INFO_NULL, &local),
            "MPI_Comm_split_type");
  check_mpi(MPI_Comm_rank(local, &local_rank_), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(local, &local_size_), "MPI_Comm_size");
  node_ = world_rank_;
  check_mpi(MPI_Bcast(&node_, 1, MPI_INT, 0, local), "MPI_Bcast");
  check_mpi(MPI_Comm_free(&local), "MPI_Comm_free");
}

Process::~Process() {
  if (std::uncaught_exceptions() > exceptions_at_start_ && world_size_ > 1) return;
  try {
    finalize();
  } catch (const CommError& error) {
    std::fprintf(stderr, "rank %d: %s\n", world_rank_, error.what());
  }
}

CollectiveScope Process::begin_collective(const char* operation) const {
  return {activity_.get(), GroupKind::kControl, {0, world_size_, ++mpi_->sequence}, operation};
}

std::vector<std::string> Process::all_gather(const std::string& mine) const {
  if (!mpi_) return {mine};
  const auto scope = begin_collective("all_gather");
  const auto ranks = static_cast<size_t>(world_size_);
  const int64_t length = static_cast<int64_t>(mine.size());
  std::vector<int64_t> lengths(ranks);
  check_mpi(MPI_Allgather(&length, 1, MPI_INT64_T, lengths.data(), 1, MPI_INT64_T, mpi_->control), "MPI_Allgather");
  const int64_t total = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  if (total > INT_MAX) {
    throw CommError("the control channel carries at most 2 GiB at once, got " + std::to_string(total) + " bytes");
  }
  std::vector<int> counts(lengths.begin(), lengths.end()), offsets(ranks);
  std::exclusive_scan(counts.begin(), counts.end(), offsets.begin(), 0);
  std::string bytes(static_cast<size_t>(total), '\0');
  check_mpi(MPI_Allgatherv(mine.data(), static_cast<int>(length), MPI_BYTE, bytes.data(), counts.data(), offsets.data(),
                           MPI_BYTE, mpi_->control),
            "MPI_Allgatherv");
  std::vector<std::string> all;
  for (size_t rank = 0; rank < ranks; ++rank) {
    all.push_back(bytes.substr(static_cast<size_t>(offsets[rank]), static_cast<size_t>(counts[rank])));
  }
  return all;
}

std::string Process::broadcast(const std::string& mine, int root) const {
  if (root < 0 || root >= world_size_) {
    throw CommError("broadcast: expected a root in [0, " + std::to_string(world_size_) + "), got " +
                    std::to_string(root));
  }
  if (!mpi_) return mine;
  const auto scope = begin_collective("broadcast");
  int64_t length = static_cast<int64_t>(mine.size());
  check_mpi(MPI_Bcast(&length, 1, MPI_INT64_T, root, mpi_->control), "MPI_Bcast");
  if (length > INT_MAX) {
    throw CommError("the control channel carries at most 2 GiB at once, got " + std::to_string(length) + " bytes");
  }
  std::string bytes = world_rank_ == root ? mine : std::string(static_cast<size_t>(length), '\0');
  check_mpi(MPI_Bcast(bytes.data(), static_cast<int>(length), MPI_BYTE, root, mpi_->control), "MPI_Bcast");
  return bytes;
}

void Process::barrier() const {
  if (!mpi_) return;
  const auto scope = begin_collective("barrier");
  check_mpi(MPI_Barrier(mpi_->control), "MPI_Barrier");
}

void Process::barrier(const std::function<void()>& meanwhile) const {
  if (!mpi_) return;
  const auto scope = begin_collective("barrier");
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Ibarrier(mpi_->control, &request), "MPI_Ibarrier");
  for (int all_here = 0;;) {
    check_mpi(MPI_Test(&request, &all_here, MPI_STATUS_IGNORE), "MPI_Test");
    if (all_here != 0) return;
    meanwhile();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

std::shared_ptr<Backend> Process::make_mpi_backend(int color) {
  if (!mpi_) throw CommError("a world of one without MPI has no MPI transport");
  const auto scope = begin_collective("split");
  MPI_Comm group = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split(mpi_->control, color, world_rank_, &group), "MPI_Comm_split");
  mpi_->groups.push_back(group);
  return std::make_shared<MpiBackend>(group);
}

MPI_Comm Process::Mpi::duplicate_of_control() {
  MPI_Comm group = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(control, &group), "MPI_Comm_dup");
  check_mpi(MPI_Comm_set_errhandler(group, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  groups.push_back(group);
  return group;
}

std::shared_ptr<HeartbeatChannel> Process::make_heartbeat_channel() {
  if (!mpi_) throw CommError("a world of one without MPI has no heartbeats");
  const auto scope = begin_collective("split");
  return std::make_shared<MpiHeartbeatChannel>(mpi_->duplicate_of_control());
}

std::unique_ptr<Mailbox> Process::make_mailbox() {
  if (!mpi_) throw CommError("a world of one without MPI has no mailbox");
  const auto scope = begin_collective("split");
  return std::make_unique<MpiMailbox>(mpi_->duplicate_of_control());
}

std::unique_ptr<Notice> Process::make_notice() {
  if (!mpi_) return std::make_unique<MpiNotice>(MPI_COMM_NULL);
  const auto scope = begin_collective("split");
  return std::make_unique<MpiNotice>(mpi_->duplicate_of_control());
}

void Process::finalize() {
  if (!mpi_) return;
  const std::unique_ptr<Mpi> mpi = std::move(mpi_);  // first: whatever fails below, MPI is not ended twice
  for (MPI_Comm& group : mpi->groups) check_mpi(MPI_Comm_free(&group), "MPI_Comm_free");
  check_mpi(MPI_Comm_free(&mpi->control), "MPI_Comm_free");
  check_mpi(MPI_Finalize(), "MPI_Finalize");
}

void Process::abort(int code) const {
  static std::atomic<bool> aborting = false;
  if (aborting.exchange(true)) {
    for (;;) pause();  // another thread is already ending the job
  }
  std::fflush(nullptr);
  int finalized = 0;
  if (mpi_) MPI_Finalized(&finalized);
  if (mpi_ && !finalized) MPI_Abort(MPI_COMM_WORLD, code);
  std::_Exit(code);
}

}  // namespace layalign::dist
