#pragma once

#include <string>
#include <vector>

#include "dist/heartbeat.h"

namespace layalign::dist {

/// What an observer knows of a rank.
struct RankView {
  std::string host;
  Heartbeat beat;       ///< the last one
  bool heard = false;   ///< there was one
  double silent_s = 0;  ///< since then
};

/// Who holds up the others, in words: ranks without a sign of life; ranks that are behind in the group in which the others
/// wait (followed from group to group: a rank that is behind may itself wait in another one); ranks that have skipped a collective;
/// ranks that are in another operation than the rest; ranks that are in no collective. `by_rank[r]` is rank r; a rank is silent after `silent_after_s`.
/// Numbers of collectives are compared within one group only: data-parallel replicas may rightly run different numbers.
std::string find_culprits(const std::vector<RankView>& by_rank, double silent_after_s);

}  // namespace layalign::dist
