#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace layalign::dist {

/// What a sweep has removed.
struct Leftovers {
  int jobs = 0;       ///< jobs whose mpirun is dead
  int files = 0;      ///< their segments of shared memory
  int64_t bytes = 0;  ///< of those segments
};

/// Removes what OpenMPI 4 leaves behind an mpirun that was killed (4 MiB of shared memory a rank, until the node starts
/// anew): `TEMPORARY/ompi.HOST.UID/pid.N` where this user's process N is no more, and
/// `SHARED/vader_segment.HOST.UID.JOB.*` of the job that is named there. Nothing that a living mpirun, another host or
/// another user owns is touched; what cannot be removed stays, which is no error. Threads, ranks: several at once do no
/// harm.
Leftovers sweep_dead_jobs(const std::filesystem::path& temporary, const std::filesystem::path& shared,
                          const std::string& host);

}  // namespace layalign::dist
