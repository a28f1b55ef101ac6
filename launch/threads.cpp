#include "launch/threads.h"

#include <ATen/Parallel.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>

namespace layalign::launch {

int64_t set_up_threads(const dist::Process& process, const std::optional<int64_t>& wanted) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  const int64_t online = sysconf(_SC_NPROCESSORS_ONLN);
  const int64_t bound = sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : online;
  const int64_t share = bound < online ? bound : std::max<int64_t>(1, online / process.local_size());
  const int64_t threads = wanted.value_or(share);
  at::set_num_threads(static_cast<int>(threads));
  return threads;
}

}  // namespace layalign::launch
