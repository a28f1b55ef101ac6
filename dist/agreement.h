#pragma once

#include <string>
#include <utility>
#include <vector>

#include "dist/process.h"

namespace layalign::dist {

/// A thing all ranks must share, and this rank's version of it:
/// {"config", the resolved YAML}, {"encoder weights", digest}.
using Topic = std::pair<std::string, std::string>;

/// Checks that every rank brings the same topics with the same values, before the first tensor is sent.
/// Collectives: one gather on the control channel.
/// Errors: the same `CommError` on every rank; it names each differing topic, the ranks and both values
/// (of a long value its digest and the first line that differs).
void require_agreement(const Process& process, const std::vector<Topic>& topics);

/// The comparison itself: `by_rank[r]` is what rank r brought. Empty if all agree, else the text of the error.
std::string describe_disagreement(const std::vector<std::vector<Topic>>& by_rank);

}  // namespace layalign::dist
