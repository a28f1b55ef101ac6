#include "trainer/replica_check.h"

#include <algorithm>
#include <string>
#include <vector>

#include "dist/error.h"
#include "trainer/trainables_file.h"

namespace layalign::trainer {

void require_equal_replicas(const at::Tensor& masters_P, const dist::Process& process, int64_t step) {
  const auto hashes = process.all_gather(trainables_hash(masters_P));
  const auto count = [&](const std::string& hash) { return std::ranges::count(hashes, hash); };
  const std::string& usual = *std::ranges::max_element(hashes, {}, count);  // the first of equals
  if (count(usual) == process.world_size()) return;
  const auto hosts = process.all_gather(process.host());
  std::string strays;
  for (size_t rank = 0; rank < hashes.size(); ++rank) {
    if (hashes[rank] != usual) strays += (strays.empty() ? "" : ", ") + std::to_string(rank) + " (" + hosts[rank] + ")";
  }
  throw dist::CommError("step " + std::to_string(step) + ": the trained weights of rank " + strays +
                        " differ from those of the others. A replica has drifted: look for faulty memory or a faulty GPU there,"
                        " then start again to resume from the last checkpoint");
}

}  // namespace layalign::trainer
