#include "launch/threads.h"

#include <ATen/Parallel.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <string>

namespace layalign::launch {
namespace {

/// The processors that this rank may run on.
struct Processors {
  int64_t count = 1;
  std::string mask;  ///< equal for ranks that share them
};

Processors allowed_processors() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return {sysconf(_SC_NPROCESSORS_ONLN), "all"};
  Processors found{CPU_COUNT(&allowed), ""};
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) found.mask += CPU_ISSET(cpu, &allowed) ? '1' : '0';
  return found;
}

/// Processors' worth of time that a container's quota gives all its processes; none: unlimited.
std::optional<int64_t> quota() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string limit;
  double period = 0;
  if (!(file >> limit >> period) || limit == "max" || period <= 0) return std::nullopt;
  return std::max<int64_t>(1, std::llround(std::stod(limit) / period));
}

int64_t default_threads(const dist::Process& process) {
  const auto mine = allowed_processors();
  const auto node_and_mask = std::to_string(process.node()) + " " + mine.mask;
  const auto all = process.all_gather(node_and_mask);
  const int64_t sharing = std::count(all.begin(), all.end(), node_and_mask);
  int64_t share = mine.count / sharing;
  if (const auto limit = quota()) share = std::min(share, *limit / process.local_size());
  if (const char* omp = std::getenv("OMP_NUM_THREADS"); omp && std::atoi(omp) > 0) share = std::atoi(omp);
  return std::max<int64_t>(1, share);
}

}  // namespace

int64_t set_up_threads(const dist::Process& process, const std::optional<int64_t>& wanted) {
  const int64_t shared = default_threads(process);
  const int64_t threads = wanted.value_or(shared);
  at::set_num_threads(static_cast<int>(threads));
  return threads;
}

}  // namespace layalign::launch
